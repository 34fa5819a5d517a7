import os
import re
from pathlib import Path

import pytest
from helpers.dataset_names import OURS, OWN

from dcal_reid.data.check import check_dataset
from dcal_reid.data.check.layouts import Layout, layout_of

README = (Path(__file__).parents[3] / "datasets" / "README.md").read_text()


@pytest.mark.parametrize("name", OURS)
def test_a_missing_data_set_shows_its_layout_and_its_source(root, cfg, name):
    check = check_dataset(name, cfg, workers=0)
    assert len(check.problems) == 1 and "not found" in check.problems[0]
    assert len(check.missing) == len(layout_of(name, cfg, "").entries)
    text = check.text()
    assert text.count("MISSING") == 1 + len(check.missing)
    assert "Source: https://" in text or "Source: none" in text


@pytest.mark.parametrize("name", OWN)
def test_own_images_without_a_path(root, cfg, name):
    check = check_dataset(name, cfg, workers=0)
    assert len(check.problems) == 1 and ".PATH is empty" in check.problems[0]
    assert re.search(r"<DATASETS\.\w+\.PATH>", check.tree)


def test_market_directly_below_the_root(market, cfg, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(market))
    check = check_dataset("Market1501", cfg, workers=0)
    assert check.missing == [] and check.splits["train"].images == 18
    assert "MISSING" not in check.tree


@pytest.mark.parametrize("name", OURS)
def test_layouts_are_those_of_the_readme(name, cfg):
    layout = layout_of(name, cfg, "")
    shown = re.findall(rf"^{re.escape(layout.home)}/\n((?:  .*\n)+)", README, re.MULTILINE)[0]
    named = {word for word in shown.split() if word.endswith((".txt", ".mat"))}
    named |= {f"{word.split('/')[0]}/" for word in shown.split() if re.fullmatch(r"\w+/(0000/)?", word)}
    ours = {entry for entry, _ in layout.entries}
    assert named - {"devkit/", "data/"} <= ours | {f"{entry.split('/')[0]}/" for entry in ours}


def test_official_numbers_of_identities(cfg):
    rows = {"Market-1501": "Market1501", "DukeMTMC-reID": "DukeMTMC", "VeRi-776": "VeRi"}
    for row, name in rows.items():
        cells = next(line for line in README.splitlines() if line.startswith(f"| {row} |")).split("|")[2:5]
        found = [re.search(r"\(([\d,]+)\)", cell) for cell in cells]
        official = layout_of(name, cfg, "").identities
        for split, match in zip(("train", "query", "gallery"), found, strict=True):
            assert match is None or int(match[1].replace(",", "")) == official[split]
    assert layout_of("MSMT17TrainVal", cfg, "").identities == {"train": 1041, "query": 3060, "gallery": 3060}


def test_second_version_of_msmt17(root, cfg):
    (root / "MSMT17_V2").mkdir()
    assert check_dataset("MSMT17", cfg).missing[-2:] == ["mask_train_v2/", "mask_test_v2/"]


def test_a_tree_tells_what_is_there(tmp_path, write_image):
    home = tmp_path / "own"
    layout = Layout(str(home), (("train/", "images"), ("query/", ""), ("labels.csv", "")), "none")
    assert layout.missing() == ["train/", "query/", "labels.csv"] and "own/  MISSING\n" in layout.tree()
    for name in ("a/1.jpg", "b/2.PNG", "b/c/3.jpeg", "4.png"):
        write_image(home / "train" / name, 0)
    for name in ("notes.txt", "._4.png"):  # macOS creates the latter beside 4.png
        (home / "train" / name).touch()
    (home / "query").mkdir()
    assert layout.missing() == ["labels.csv"]
    assert [line.split() for line in layout.tree().splitlines()] == [
        [f"{home}/"], ["train/", "4", "images", "images"], ["query/", "0", "images"], ["labels.csv", "MISSING"],
    ]  # fmt: skip
    (home / "labels.csv").touch()
    assert layout.missing() == [] and layout.tree().endswith("labels.csv  there")


@pytest.mark.parametrize("path", ["lists/own.csv", "own.csv"])
@pytest.mark.parametrize("root", ["datasets", ""])
def test_a_table_is_below_the_root_unless_its_path_is_absolute(cfg, tmp_path, root, path):
    cfg.DATASETS.CSV.PATH = path
    layout = layout_of("CSVReID", cfg, root)
    assert os.path.normpath(os.path.join(layout.home, layout.entries[0][0])) == os.path.join(root, path)
    cfg.DATASETS.CSV.PATH = str(tmp_path / path)
    layout = layout_of("CSVReID", cfg, root)
    assert os.path.join(layout.home, layout.entries[0][0]) == str(tmp_path / path)


def test_a_folder_that_two_splits_share_is_expected_once(cfg):
    cfg.DATASETS.FOLDER.PATH, cfg.DATASETS.FOLDER.GALLERY_SPLITS = "dogs", ("query", "gallery")
    layout = layout_of("FolderReID", cfg, "datasets")
    assert (layout.home, [entry for entry, _ in layout.entries]) == ("datasets/dogs", ["train/", "query/", "gallery/"])


def test_what_fast_reid_alone_knows_has_no_layout(cfg):
    assert layout_of("VehicleID", cfg, "datasets") is None
