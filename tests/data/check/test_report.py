import json
import shutil
from dataclasses import replace

import pytest

from dcal_reid.data.check import DatasetCheck, check_dataset
from dcal_reid.data.check.statistics import SplitStatistics, Spread

TRAIN = SplitStatistics(
    images=12936,
    identities=751,
    cameras=6,
    distractors=0,
    images_per_identity=Spread(2, 15.5, 72),
    one_camera_identities=3,
    width=Spread(64, 64, 64),
    height=None,
    identical_files=0,
    official_images=12937,
)


def rows(check):
    """The cells of the table by the name of their row."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in check.table().splitlines() if "|" in line]
    return {name: values for name, *values in lines}


def test_a_figure_is_in_the_table_if_one_of_the_splits_has_it():
    query = replace(TRAIN, queries_without_match=4, broken={"a.jpg": "image 'a.jpg' is empty"}, official_images=None)
    table = rows(DatasetCheck("Market1501", "datasets", splits={"train": TRAIN, "query": query}))
    assert table[""] == ["train", "query"]
    assert table["images"] == ["12,936", "12,936"] and table["images, officially"] == ["12,937", ""]
    assert table["images per identity"] == ["2 / 15.5 / 72"] * 2 and table["width"] == ["64 / 64 / 64"] * 2
    assert table["queries without a match in another camera"] == ["", "4"]
    assert table["broken images"] == ["0", "1"] and table["copies of a file of the same split"] == ["0", "0"]
    # Unknown everywhere, or none anywhere.
    assert table.keys().isdisjoint({"height", "identities, officially", "distractors"})


def test_classes_are_not_called_identities():
    text = DatasetCheck("CUB200", "datasets", is_for_classes=True, splits={"test": TRAIN}).table()
    assert "classes" in text and "images per class" in text and "identit" not in text


@pytest.mark.parametrize(
    ("problems", "verdict"), [([], "no problems"), (["one"], "1 problem\n"), (["one", "two"], "2 problems\n")]
)
def test_what_is_wrong_comes_first(problems, verdict):
    check = DatasetCheck("VeRi", "datasets", problems=problems, notes=["a note"], tree="veri/", source="none")
    text = check.text()
    assert text.startswith(f"VeRi in datasets: {verdict}") and check.ok is (problems == [])
    parts = [*(f"- {problem}" for problem in problems), "- a note", "Layout:\nveri/", "Source: none"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


def test_everything_is_in_the_json():
    check = DatasetCheck("VeRi", "datasets", problems=["one"], missing=["query/"], splits={"train": TRAIN})
    found = json.loads(json.dumps(check.as_dict()))
    assert (found["ok"], found["problems"], found["missing"]) == (False, ["one"], ["query/"])
    assert found["splits"]["train"]["images"] == 12936 and found["splits"]["train"]["height"] is None
    assert found["splits"]["train"]["images_per_identity"] == [2, 15.5, 72]


def test_names_that_are_not_utf8_can_be_printed(dogs, cfg):
    """In most locales Python refuses to print the characters that replace the bytes of such a name."""
    for identity in ("ace", "bob"):
        shutil.copy(dogs / "query" / "rex" / "c1_1.jpg", dogs / "train" / identity / "c1_\udcff.jpg")
    text = check_dataset("FolderReID", cfg, workers=0).text()
    assert "c1_?.jpg = " in text and text.encode("utf-8")


def test_without_cameras(dogs, cfg):
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = ""
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.ok and check.splits["train"].cameras is check.splits["train"].one_camera_identities is None
    assert any("has no cameras" in note for note in check.notes)
    assert "camera only" not in check.table() and "cameras" not in check.table()
