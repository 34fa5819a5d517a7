"""CSVFGVC."""

import pytest

from dcal_reid.data import load_dataset
from dcal_reid.errors import InputError

LINES = ["path,label,split", "a.jpg,kind 10,train", "b.jpg,kind 2,train", "sub/c.jpg,kind 2,test", "d.jpg,kind 10,val"]


@pytest.fixture
def beetles(root, cfg):
    """A function that writes lines to the CSV file and gives the dataset."""
    home = root / "beetles"
    (home / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "d.jpg"):
        (home / name).touch()
    cfg.DATASETS.CLASS_CSV.PATH = "beetles/labels.csv"

    def load(lines):
        (home / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return load_dataset("CSVFGVC", cfg)

    return load


def test_classes_are_numbered_in_natural_order(beetles, root):
    dataset = beetles(LINES)
    assert dataset.class_names == ["kind 2", "kind 10"]
    assert dataset.train == [(str(root / "beetles/a.jpg"), 1, 0), (str(root / "beetles/b.jpg"), 0, 0)]
    assert dataset.test == [(str(root / "beetles/sub/c.jpg"), 0, 0)]


def test_splits_and_image_root_are_chosen_in_the_config(beetles, cfg, root):
    cfg.DATASETS.CLASS_CSV.TRAIN_SPLITS = (0, "1")
    cfg.DATASETS.CLASS_CSV.TEST_SPLITS = (2,)
    cfg.DATASETS.CLASS_CSV.IMAGE_ROOT = "beetles/sub"
    (root / "beetles/sub/a.jpg").touch()
    (root / "beetles/sub/b.jpg").touch()
    dataset = beetles(["split,label,path,note", "0,x,a.jpg,", "1,y,b.jpg,", "2,y,c.jpg,", "3,z,gone.jpg,not used"])
    assert dataset.class_names == ["x", "y"]
    assert [path for path, _, _ in dataset.train] == [str(root / f"beetles/sub/{name}.jpg") for name in "ab"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,class,subset"],
            "has no column label, split; .* but path, label, split are expected, separated by commas",
        ),
        ([LINES[0]], "holds no images"),
        ([LINES[0], "a.jpg,x"], "line 2 has 2 fields, the header 3"),
        ([LINES[0], LINES[1], "b.jpg,,train"], "line 3 has no label"),
        ([LINES[0], "../a.jpg,x,train"], r"line 2: path '\.\./a\.jpg' is outside DATASETS\.CLASS_CSV\.IMAGE_ROOT"),
        (LINES[:3], r"TEST_SPLITS asks for 'test', which .* does not have; choose among 'train'$"),
        ([LINES[0], LINES[3]], r"TRAIN_SPLITS asks for 'train'"),
        ([*LINES, "a.jpg,kind 2,test"], "in train as 'kind 10' and in test as 'kind 2'"),
        ([*LINES, "d.jpg,kind 3,test"], "no training image for 1 of 3 classes: 'kind 3'"),
        ([*LINES, "e.jpg,kind 2,test"], r"1 images that do not exist: .*beetles/e\.jpg"),
    ],
)
def test_wrong_files_are_refused(beetles, lines, message):
    with pytest.raises(InputError, match=message) as caught:
        beetles(lines)
    assert "labels.csv'" in str(caught.value) and "\n" not in str(caught.value)


def test_no_file(root, cfg):
    with pytest.raises(InputError, match=r"CSVFGVC: DATASETS\.CLASS_CSV\.PATH is empty"):
        load_dataset("CSVFGVC", cfg)
    cfg.DATASETS.CLASS_CSV.PATH = "mine.csv"
    with pytest.raises(InputError, match=rf"{root}/mine\.csv' not found"):
        load_dataset("CSVFGVC", cfg)
