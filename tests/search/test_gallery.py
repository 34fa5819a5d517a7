from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.search import add_to_gallery, build_gallery, image_records, open_gallery, remove_from_gallery
from dcal_reid.search.location import MilvusCollection


@pytest.fixture
def location(tmp_path):
    return tmp_path / "gallery"


def contents(location):
    """File name -> identity."""
    gallery = open_gallery(location)
    records = gallery.records(np.arange(len(gallery)))
    return dict(zip((Path(path).name for path in records.paths), records.identities.tolist(), strict=True))


def names(location, predictor):
    """The names found by a search for everything."""
    gallery = open_gallery(location, predictor.fingerprint)
    hits = gallery.search(np.ones((1, predictor.dim)), len(gallery))
    return sorted(Path(path).name for path in gallery.records(hits.ids[0]).paths)


def test_build(predictor, crops, location, monkeypatch):
    monkeypatch.chdir(crops)
    records = image_records("labels.csv")
    build_gallery(predictor, records, location)
    gallery = open_gallery(location, predictor.fingerprint)
    hits = gallery.search(predictor(records.paths.tolist()), 1)
    assert hits.ids[:, 0].tolist() == list(range(40))
    known = gallery.records(hits.ids[:, 0])
    assert known.paths.tolist() == [str(crops / path) for path in records.paths]  # found from any folder
    assert known.identities.tolist() == records.identities.tolist()
    assert not list(location.parent.glob("gallery.*"))


def test_distances_are_by_the_metric_of_the_config(predictor, crops, location):
    predictor.cfg.defrost()
    predictor.cfg.TEST.METRIC = "euclidean"
    build_gallery(predictor, image_records(crops / "3_0_0.png"), location)
    assert open_gallery(location).metric == "euclidean"


def test_what_exists_is_replaced_only_if_asked_for(predictor, crops, location, tmp_path):
    build_gallery(predictor, image_records(crops), location)
    few = image_records(crops / "3_0_0.png")
    with pytest.raises(InputError, match="exists; --add adds to it, --overwrite replaces it"):
        build_gallery(predictor, few, location)
    build_gallery(predictor, few, location, overwrite=True)
    assert names(location, predictor) == ["3_0_0.png"]
    with pytest.raises(InputError, match=r"crops' exists and is not a gallery"):
        build_gallery(predictor, few, crops, overwrite=True)
    (tmp_path / "empty").mkdir()
    build_gallery(predictor, few, tmp_path / "empty")


def test_a_folder_whose_name_is_not_utf8_is_refused_before_the_features(predictor, crops, tmp_path, monkeypatch):
    """faiss cannot open such a file, but would only say so after the last image."""
    monkeypatch.setattr(predictor, "extract", None)
    Path(f"{tmp_path}/\udcff").mkdir()
    monkeypatch.chdir(f"{tmp_path}/\udcff")
    with pytest.raises(
        InputError, match=r"a gallery holds UTF-8 only, which '.*udcff/new' is not; rename the folder, or choose an"
    ):
        build_gallery(predictor, image_records(crops), "new")
    assert not list(Path().iterdir())


def test_indexes(predictor, crops, location, monkeypatch):
    records = image_records(crops)
    with pytest.raises(InputError, match="faiss cannot build an index 'Cube7'"):
        build_gallery(predictor, records, location, index="Cube7")
    assert not location.parent.joinpath("gallery.parts").exists()
    with pytest.raises(
        InputError, match=r"index 'IVF64,Flat' from 40 items: .*; the features stay in '.*gallery\.parts'"
    ):
        build_gallery(predictor, records, location, index="IVF64,Flat")
    # The features already exist.
    monkeypatch.setattr(predictor, "_forward", None)
    predictor.dim = 96
    gallery = build_gallery(predictor, records, location, index="IVF4,Flat", search="nprobe=4")
    assert (gallery.factory, gallery.search_options, gallery.recall) == ("IVF4,Flat", "nprobe=4", 1.0)


def test_add_leaves_out_what_is_there(predictor, crops, location):
    (crops / "one.csv").write_text("path,identity,camera\n1_0_0.png,one,gate\n1_0_1.png,one,gate\n")
    build_gallery(predictor, image_records(crops / "one.csv"), location)
    gallery, present = add_to_gallery(predictor, image_records(crops), location)
    assert (len(gallery), present) == (40, 2)
    assert contents(location)["1_0_1.png"] == "one" and contents(location)["1_1_0.png"] == ""
    gallery, present = add_to_gallery(predictor, image_records(crops), location)
    assert (len(gallery), present) == (40, 40)
    assert len(names(location, predictor)) == 40


def test_remove(predictor, crops, location, monkeypatch):
    build_gallery(predictor, image_records(crops), location)
    before = names(location, predictor)
    with pytest.raises(InputError, match=r"1 of 2 paths are not in gallery '.*', the first is '.*none\.png'"):
        remove_from_gallery(location, [crops / "0_0_0.png", crops / "none.png"])
    assert names(location, predictor) == before
    monkeypatch.chdir(crops)
    remove_from_gallery(location, ["0_0_0.png", "./5_1_0.png", str(crops / "7_0_1.png")])
    assert names(location, predictor) == [name for name in before if name[:5] not in ("0_0_0", "5_1_0", "7_0_1")]


def test_an_image_that_changed_is_removed_and_added(predictor, crops, location):
    build_gallery(predictor, image_records(crops), location)
    Image.new("RGB", (32, 64), "red").save(crops / "0_0_0.png")
    remove_from_gallery(location, [crops / "0_0_0.png"])
    gallery, _ = add_to_gallery(predictor, image_records(crops), location)
    hits = gallery.search(predictor(str(crops / "0_0_0.png")), 1)
    assert gallery.records(hits.ids[0]).paths.tolist() == [str(crops / "0_0_0.png")]
    assert hits.distances[0, 0] < 1e-5


def test_a_gallery_of_another_model_is_refused(predictor, other_predictor, crops, location):
    build_gallery(predictor, image_records(crops), location)
    both = f"holds features of model {predictor.fingerprint}, not of {other_predictor.fingerprint}"
    with pytest.raises(InputError, match=both):
        add_to_gallery(other_predictor, image_records(crops), location)
    with pytest.raises(InputError, match=both):
        open_gallery(location, other_predictor.fingerprint)


def test_broken_images_are_left_out_and_listed(skipping_predictor, crops, location):
    (crops / "4_0_0.png").write_bytes(b"no image")
    build_gallery(skipping_predictor, image_records(crops), location)
    assert "4_0_0.png" not in names(location, skipping_predictor) and len(open_gallery(location)) == 39
    assert Path(f"{location}.broken.txt").read_text().split() == [str(crops / "4_0_0.png")]


def test_nothing_but_broken_images_adds_nothing(skipping_predictor, crops, location, tmp_path, capsys):
    build_gallery(skipping_predictor, image_records(crops), location)
    (tmp_path / "new").mkdir()
    broken = tmp_path / "new" / "broken.png"
    broken.write_bytes(b"no image")
    gallery, present = add_to_gallery(skipping_predictor, image_records(tmp_path / "new"), location)
    assert (len(gallery), present) == (40, 0)
    assert "nothing is added: none of the 1 images can be decoded, first" in capsys.readouterr().out
    assert Path(f"{location}.broken.txt").read_text().split() == [str(broken)]
    Image.new("RGB", (32, 64), "red").save(tmp_path / "new" / "good.png")
    gallery, _ = add_to_gallery(skipping_predictor, image_records(tmp_path / "new"), location)
    assert len(gallery) == 41 and "good.png" in contents(location)
    broken.unlink()
    Image.new("RGB", (32, 64), "blue").save(tmp_path / "new" / "better.png")
    add_to_gallery(skipping_predictor, image_records(tmp_path / "new"), location)
    assert not Path(f"{location}.broken.txt").exists()  # the earlier one


def test_a_collection_is_replaced_once_the_features_are_there(predictor, crops, tmp_path, monkeypatch):
    for module in ("pymilvus", "milvus_lite"):
        pytest.importorskip(module, reason='needs pip install "dcal_reid[milvus]"')
    monkeypatch.chdir(tmp_path)
    location = MilvusCollection("g", str(tmp_path / "gallery.db"))
    build_gallery(predictor, image_records(crops), location)
    few = image_records(crops / "3_0_0.png")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(predictor, "extract", lambda paths: 1 / 0)
        build_gallery(predictor, few, location, overwrite=True)
    assert len(open_gallery(location)) == 40
    assert len(build_gallery(predictor, few, location, overwrite=True)) == 1


def test_a_gallery_whose_identities_are_numbers(predictor, crops, location):
    """Like a gallery that was filled through the class."""
    gallery = FaissGallery(predictor.dim, fingerprint=predictor.fingerprint)
    gallery.add(predictor(str(crops / "0_0_0.png")), Records(["0_0_0.png"], [-1], [-1]))
    gallery.save(location)
    add_to_gallery(predictor, image_records(crops / "1_0_0.png"), location)
    assert contents(location) == {"0_0_0.png": -1, "1_0_0.png": -1}
    (crops / "some.csv").write_text("path,identity\n2_0_0.png,\n3_0_0.png,rex\n")
    for name in ("labels.csv", "some.csv"):
        with pytest.raises(InputError, match="identities of the gallery are integers, those of the new images texts"):
            add_to_gallery(predictor, image_records(crops / name), location)
    remove_from_gallery(location, ["0_0_0.png"])
    assert names(location, predictor) == ["1_0_0.png"]


def test_a_gallery_whose_identities_are_texts(predictor, crops, location):
    build_gallery(predictor, image_records(crops / "labels.csv"), location)
    numbers = Records([str(crops / "new.png")], [3], ["0"])
    with pytest.raises(InputError, match=r"identities of the gallery are texts, those of the new images .* as 3$"):
        add_to_gallery(predictor, numbers, location)
