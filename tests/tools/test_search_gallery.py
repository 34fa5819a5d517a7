import json
import runpy
from pathlib import Path

import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import Records
from dcal_reid.evaluation.milvus import MilvusGallery
from dcal_reid.search import build_gallery, image_records

TOOL = Path(__file__).parents[2] / "tools" / "search_gallery.py"


@pytest.fixture
def search(run_folder):
    tool = runpy.run_path(str(TOOL))

    def search(*arguments):
        words = [*arguments, "--weights", run_folder / "model_final.pth", "--device", "cpu"]
        tool["run"](tool["parser"]().parse_intermixed_args([*map(str, words)]))

    return search


@pytest.fixture
def gallery(run_folder, crops, tmp_path):
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    build_gallery(predictor, image_records(crops / "labels.csv"), tmp_path / "gallery")
    return tmp_path / "gallery"


def test_search(search, gallery, crops, run_folder, tmp_path, capsys):
    query = crops / "3_0_0.png"
    search(
        *(gallery, query, "--top", 4, "--exclude-camera", "0", "--threshold", "0.5"),
        *("--json", tmp_path / "found.json", "--picture", tmp_path / "found.png", "TEST.IMS_PER_BATCH", 7),
    )
    # The reference: all pairs, only with camera 1.
    paths = sorted(map(str, crops.glob("*_1_*.png")))
    features = Predictor(run_folder / "model_final.pth", device="cpu")([str(query), *paths])
    distances, order = torch.sort(1 - torch.cosine_similarity(features[:1], features[1:]), stable=True)
    content = json.loads((tmp_path / "found.json").read_text())
    hits = content["queries"][0]["hits"]
    assert [hit["path"] for hit in hits] == [paths[number] for number in order[:4]]
    assert [hit["distance"] for hit in hits] == pytest.approx(distances[:4].tolist(), abs=1e-5)
    assert [hit["match"] for hit in hits] == (distances[:4] < 0.5).tolist()
    assert {hit["camera"] for hit in hits} == {"1"}
    assert (content["metric"], content["threshold"], content["items"]) == ("cosine", 0.5, 40)
    output = capsys.readouterr().out
    assert str(query) in output and all(hit["path"] in output for hit in hits)
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_several_queries(search, gallery, crops, capsys):
    search(gallery, crops / "3_0_0.png", crops / "labels.csv", "--top", 1)
    assert capsys.readouterr().out.count("\n| 1 ") == 40


def test_it_is_told_where_an_approximate_index_finds_too_few(search, crops, run_folder, tmp_path, capsys):
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    records = image_records(crops / "labels.csv")
    build_gallery(predictor, records, tmp_path / "gallery", index="IVF2,Flat", search="nprobe=1")
    search(tmp_path / "gallery", crops / "3_0_0.png", "--top", 50)
    assert "\n1 of 1 have fewer than 40 items: the index is approximate" in capsys.readouterr().out
    build_gallery(predictor, records, tmp_path / "gallery", overwrite=True)
    search(tmp_path / "gallery", crops / "3_0_0.png", "--top", 50)
    assert "fewer" not in capsys.readouterr().out


def test_wrong_input(search, gallery, crops, tmp_path):
    for arguments, message in [
        ([gallery, tmp_path / "none.png"], "none.png' not found"),
        ([tmp_path / "nowhere", crops / "3_0_0.png"], "nowhere is not a gallery"),
        ([gallery, crops / "3_0_0.png", "--top", 0], "--top is 0"),
        ([gallery, crops / "3_0_0.png", "--threshold", 0], "--threshold is 0"),
        ([gallery, crops / "3_0_0.png", "--cameras", 0, 7], "the gallery has no camera '7'; its cameras are '0', '1'"),
        ([gallery, crops / "3_0_0.png", "TEST.FLIP.ENABLED", "True"], "holds features of model .*, not of "),
    ]:
        with pytest.raises(InputError, match=message):
            search(*arguments)


def test_an_incomplete_gallery_is_warned_of_once(search, crops, run_folder, tmp_path, caplog):
    pytest.importorskip("milvus_lite", reason='needs pip install "dcal_reid[milvus]"')
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    uri, query = str(tmp_path / "gallery.db"), str(crops / "3_0_0.png")
    gallery = MilvusGallery.create(uri, "g", predictor.dim, fingerprint=predictor.fingerprint)
    gallery.add(predictor(query), Records([query], [""], [""]))
    search("g", query, "--backend", "milvus", "--uri", uri)
    assert caplog.text.count("is incomplete") == 1


def test_where_nothing_can_be_written_nothing_is_searched(search, gallery, crops, tmp_path, capsys):
    capsys.readouterr()
    with pytest.raises(InputError, match=r"found\.xyz' is not the name of a picture"):
        search(gallery, crops / "3_0_0.png", "--picture", tmp_path / "found.xyz")
    with pytest.raises(FileNotFoundError, match=r"no/found\.json"):
        search(gallery, crops / "3_0_0.png", "--json", tmp_path / "no" / "found.json")
    assert capsys.readouterr().out == ""
