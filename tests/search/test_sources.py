import os

import pytest

from dcal_reid.errors import InputError
from dcal_reid.search.sources import dataset_records, image_records


def relative(records, folder):
    return [os.path.relpath(path, folder) for path in records.paths]


def test_a_folder_gives_all_images_below_it_in_natural_order(make_images):
    folder = make_images("10.jpg", "2.png", "b/1.webp", "b/c/1.JPG", ".trash/1.jpg", "b/._1.jpg")
    (folder / "notes.txt").write_text("no image")
    records = image_records(folder)
    assert relative(records, folder) == ["2.png", "10.jpg", "b/1.webp", "b/c/1.JPG"]
    assert records.identities.tolist() == records.cameras.tolist() == [""] * 4


def test_a_csv_gives_identities_and_cameras_as_texts(make_images):
    folder = make_images("a.jpg", "b.jpg", "c.jpg")
    (folder / "all.csv").write_text("split,path,identity,camera\nx,b.jpg,007,gate\nx,a.jpg,8,\n")
    records = image_records(folder / "all.csv")
    assert relative(records, folder) == ["b.jpg", "a.jpg"]
    assert (records.identities.tolist(), records.cameras.tolist()) == (["007", "8"], ["gate", ""])
    (folder / "paths.CSV").write_text("path\nc.jpg\n")
    assert image_records(folder / "paths.CSV").identities.tolist() == [""]


def test_an_image_that_is_listed_twice_counts_once(make_images):
    folder = make_images("a.jpg", "b.jpg")
    (folder / "all.csv").write_text("path,identity,split\na.jpg,1,query\nb.jpg,1,query\na.jpg,1,gallery\n")
    assert relative(image_records(folder / "all.csv"), folder) == ["a.jpg", "b.jpg"]
    (folder / "all.csv").write_text("path,identity\na.jpg,1\na.jpg,2\n")
    with pytest.raises(InputError, match=r"a\.jpg' two identities or cameras: \('1', ''\) and \('2', ''\)"):
        image_records(folder / "all.csv")


def test_an_image_that_is_listed_in_two_ways_counts_once(make_images, monkeypatch):
    folder = make_images("a.jpg", "b.jpg")
    (folder / "all.txt").write_text(f"a.jpg\nb.jpg\n{folder / 'a.jpg'}\n")
    monkeypatch.chdir(folder)
    assert image_records("all.txt").paths.tolist() == ["a.jpg", "b.jpg"]


def test_paths_in_a_list_are_relative_to_it(make_images, tmp_path):
    folder = make_images("a.jpg", "b.jpg")
    (tmp_path / "list.txt").write_text(f"images/b.jpg\n\n{folder / 'a.jpg'}\n")
    assert relative(image_records(tmp_path / "list.txt"), folder) == ["b.jpg", "a.jpg"]


def test_one_image(make_images):
    path = make_images("a.jpg") / "a.jpg"
    assert image_records(path).paths.tolist() == [str(path)]


def test_what_cannot_be_used(make_images, tmp_path):
    folder = make_images("a.jpg")

    (tmp_path / "empty").mkdir()
    for source, message in [("none", "none' not found; give a folder, a .csv"), ("empty", "empty' holds no images")]:
        with pytest.raises(InputError, match=message):
            image_records(tmp_path / source)
    for name, text, message in [
        ("x.csv", "path\n", "x.csv' holds no images"),
        ("x.csv", "identity\n1\n", "x.csv' has no column path"),
        ("x.csv", "path\na.jpg\nb.jpg\nc.jpg\n", "x.csv' lists 2 images that do not exist: .*b.jpg"),
        ("x.csv", "path\n../x.jpg\n", r"x.csv' line 2: path '../x.jpg' is outside the folder of the file"),
        ("x.csv", "path\n/etc/x.jpg\n", r"path '/etc/x.jpg' is outside the folder"),
        ("x.txt", "b.jpg\n", "x.txt' lists 1 images that do not exist: .*b.jpg"),
        ("x.pdf", "", "x.pdf' is neither a folder, nor a .csv"),
    ]:
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=message):
            image_records(folder / name)
    (folder / "x.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="save it as text in UTF-8"):
        image_records(folder / "x.txt")


def test_the_splits_of_a_dataset(predictor, crops):
    query, gallery = (dataset_records("CSVReID", split, predictor.cfg) for split in ("query", "gallery"))
    assert relative(query, crops) == [f"{identity}_0_0.png" for identity in range(6, 10)]
    assert (len(gallery), len(dataset_records("CSVReID", "train", predictor.cfg))) == (12, 24)
    assert gallery.cameras.tolist() == [0, 1, 1] * 4
    (crops / "7_0_0.png").unlink()
    with pytest.raises(InputError, match=r"1 images that do not exist: .*7_0_0\.png"):
        dataset_records("CSVReID", "query", predictor.cfg)
    with pytest.raises(InputError, match="--split is 'val'; choose one of query, gallery, train"):
        dataset_records("CSVReID", "val", predictor.cfg)
