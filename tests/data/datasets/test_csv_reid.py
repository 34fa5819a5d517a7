"""CSVReID."""

from pathlib import Path

import pytest

from dcal_reid.data import load_dataset
from dcal_reid.errors import InputError

LINES = ["path,identity,camera,split", "a.jpg,x,1,train", "b.jpg,y,1,query", "sub/c.jpg,y,2,gallery"]


@pytest.fixture
def crops(root, cfg):
    """A function that writes lines to the CSV file and gives the dataset."""
    home = root / "crops"
    (home / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (home / name).touch()
    cfg.DATASETS.CSV.PATH = "crops/labels.csv"

    def load(lines, encoding="utf-8"):
        (home / "labels.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return load_dataset("CSVReID", cfg)

    return load


def test_images_are_found_beside_the_file(crops, root):
    dataset = crops(LINES)
    assert dataset.train == [(str(root / "crops/a.jpg"), "csv_0", "csv_0")]
    assert dataset.query == [(str(root / "crops/b.jpg"), 1, 0)]
    assert dataset.gallery == [(str(root / "crops/sub/c.jpg"), 1, 1)]


def test_image_root_and_absolute_paths(crops, cfg, root):
    cfg.DATASETS.CSV.IMAGE_ROOT = "crops/sub"
    assert crops([LINES[0], "c.jpg,x,1,train"]).train[0][0] == str(root / "crops/sub/c.jpg")
    cfg.DATASETS.CSV.PATH = str(root / "crops" / "labels.csv")
    cfg.DATASETS.CSV.IMAGE_ROOT = str(root / "crops" / "sub")
    assert crops([LINES[0], f"{root}/crops/sub/c.jpg,x,1,train"]).train[0][0] == str(root / "crops/sub/c.jpg")


def test_the_case_of_column_names_does_not_matter(crops):
    """To ignore a column Camera would mean no cameras, and another protocol."""
    dataset = crops(["Path,IDENTITY,Camera,Split", "a.jpg,X,North,train"])
    assert dataset.has_cameras and dataset.camera_names == ["North"] and dataset.identity_names == ["X"]


def test_what_spreadsheets_write(crops):
    """A byte order mark, columns in another order, more columns, spaces, empty lines, quotes, accents."""
    lines = ["split , identity,note,path,camera", "", 'train," Ünal, A.",x,a.jpg, 1 ', ",,,,"]
    dataset = crops(lines, encoding="utf-8-sig")
    assert dataset.identity_names == ["Ünal, A."] and dataset.camera_names == ["1"]
    assert len(dataset.train) == 1


def test_quotes_after_a_space_are_quotes(crops):
    dataset = crops(
        ["path, identity, split", 'a.jpg, "bus 1, red", train', '"b.jpg", "cat", train', "sub/c.jpg, cat, train"]
    )
    assert dataset.identity_names == ["bus 1, red", "cat"] and len(dataset.train) == 3


@pytest.mark.parametrize(
    "lines", [["path,identity,split", "a.jpg,x,train"], ["path,identity,camera,split", "a.jpg,x,,train"]]
)
def test_camera_is_optional(crops, lines):
    assert not crops(lines).has_cameras


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,identity,subset"], "has no column path, split; its columns are file, identity, subset"),
        (["path;identity;split"], "its columns are path;identity;split, .* separated by commas"),
        ([""], "its columns are none"),
        ([LINES[0]], "holds no images"),
        (
            ["path,identity,camera,split,Camera", "a.jpg,x,1,train,2"],
            "has more than one column camera; keep one of each",
        ),
        (["path,identity,path,identity,split"], "has more than one column path, identity; keep"),
        ([LINES[0], "a.jpg,x,1"], "line 2 has 3 fields, the header 4"),
        ([LINES[0], "a.jpg,x,1,train,more"], "line 2 has 5 fields"),
        ([LINES[0], LINES[1], "b.jpg,,1,train"], "line 3 has no identity"),
        ([LINES[0], ",x,1,train"], "line 2 has no path"),
        ([LINES[0], "../a.jpg,x,1,train"], r"line 2: path '\.\./a\.jpg' is outside DATASETS\.CSV\.IMAGE_ROOT"),
        ([LINES[0], "sub/../../crops2/a.jpg,x,1,train"], "line 2: .* is outside"),
        ([LINES[0], "/etc/passwd,x,1,train"], "line 2: .* is outside"),
        ([LINES[0], '"a.jpg,x,1,train'], "line 2: unexpected end of data"),
    ],
)
def test_wrong_files_are_refused_with_the_line(crops, lines, message):
    with pytest.raises(InputError, match=rf"labels\.csv'.*{message}") as caught:
        crops(lines)
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(crops):
    with pytest.raises(InputError, match=r"labels\.csv': 'utf-8' codec .*; save it as CSV in UTF-8"):
        crops([LINES[0], "ä.jpg,x,1,train"], encoding="latin-1")


def test_no_file(root, cfg):
    with pytest.raises(InputError, match=r"DATASETS\.CSV\.PATH is empty"):
        load_dataset("CSVReID", cfg)
    cfg.DATASETS.CSV.PATH = "mine.csv"
    with pytest.raises(InputError, match=rf"{root}/mine\.csv' not found"):
        load_dataset("CSVReID", cfg)


def test_real_vehicles(cfg, monkeypatch):
    """567 vehicles, two cameras: trained on the first 405, tested on the others from one camera to the other."""
    shared = Path(__file__).parents[3] / ".." / "shared" / "data"
    if not (shared / "vehicles" / "labels.csv").is_file():
        pytest.skip(f"the vehicles data are not in {shared}")
    monkeypatch.setenv("FASTREID_DATASETS", str(shared))
    csv = cfg.DATASETS.CSV
    csv.PATH = "vehicles/labels.csv"
    csv.QUERY_SPLITS = csv.GALLERY_SPLITS = ("val", "test")
    csv.QUERY_CAMERAS, csv.GALLERY_CAMERAS = ("cam1",), ("cam2",)
    dataset = load_dataset("CSVReID", cfg)
    assert dataset.parse_data(dataset.train) == (405, 2) and len(dataset.train) == 810
    assert dataset.parse_data(dataset.query) == dataset.parse_data(dataset.gallery) == (162, 1)
    assert {item[1] for item in dataset.query} == {item[1] for item in dataset.gallery}
