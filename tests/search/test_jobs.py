import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.search import build_gallery, image_records, jobs, open_gallery


@pytest.fixture
def gallery(crops, tmp_path):
    """A gallery of all crops, each with a feature of noise."""
    paths = sorted(map(str, crops.glob("*.png")))
    features = np.random.default_rng(0).standard_normal((40, 96)).astype(np.float32)
    labels = np.arange(40) % 2
    FaissGallery.build(features, Records(paths, labels, labels)).save(tmp_path / "gallery")
    return tmp_path / "gallery"


def build(gallery, **given):
    words = {"source": None, "index": "", "search": "", "add": False, "remove": [], "remove_list": ""}
    where = {"gallery": str(gallery), "backend": "faiss", "uri": "", "overwrite": False}
    jobs.build(argparse.Namespace(**words | where | given))


def names(gallery):
    found = open_gallery(gallery)
    return {Path(path).name for path in found.records(found.ids).paths}


def test_an_image_that_is_named_in_two_ways_is_removed_once(gallery, crops, monkeypatch, capsys):
    monkeypatch.chdir(crops)
    build(gallery, remove=["0_0_0.png", "./0_0_0.png", str(crops / "0_0_0.png"), "1_0_0.png"])
    out = capsys.readouterr().out
    assert out.startswith("2 images removed\n") and f"{gallery}: 38 images, 96 values each, cosine distance" in out
    assert names(gallery) == {path.name for path in crops.glob("*.png")} - {"0_0_0.png", "1_0_0.png"}


def test_lists_of_other_systems(gallery, crops, tmp_path, monkeypatch):
    """With a byte order mark and other line endings, and with a name that contains a Unicode line separator."""
    monkeypatch.chdir(crops)
    os.rename("0_0_0.png", "0\u2028\x85.png")
    records = Records([str(crops / "0\u2028\x85.png")], [3], [3])
    changed = open_gallery(gallery)
    changed.add(np.ones((1, 96), np.float32), records)
    changed.save(gallery)
    listed = tmp_path / "gone.txt"
    listed.write_bytes("\ufeff1_0_0.png\r\n\r\n  2_0_0.png\r\n0\u2028\x85.png".encode())
    build(gallery, remove_list=str(listed), remove=["3_0_0.png"])
    assert len(open_gallery(gallery)) == 37
    assert not names(gallery) & {"0\u2028\x85.png", "1_0_0.png", "2_0_0.png", "3_0_0.png"}


@pytest.mark.parametrize(("content", "message"), [
    (None, "cannot be read: No such file"),
    ("1_0_0.png\né.png".encode("latin-1"), "save it as text in UTF-8"),
    (b" \n\n", "has no paths; write one per line"),
])  # fmt: skip
def test_lists_that_cannot_be_used(gallery, tmp_path, content, message):
    listed = tmp_path / "gone.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(InputError, match=rf"gone\.txt'.*{message}"):
        build(gallery, remove_list=str(listed), remove=["3_0_0.png"])
    assert len(open_gallery(gallery)) == 40


@pytest.mark.parametrize("kind", [{"remove": ["3_0_0.png"]}, {"add": True, "source": "."}])
@pytest.mark.parametrize("option", [{"index": "Flat"}, {"search": "nprobe=2"}, {"overwrite": True}])
def test_what_is_for_a_new_gallery_changes_no_old_one(gallery, crops, monkeypatch, kind, option):
    monkeypatch.chdir(crops)
    with pytest.raises(InputError, match="are for a new gallery, not with --add or --remove"):
        build(gallery, **kind, **option)
    assert len(open_gallery(gallery)) == 40


def test_a_query_that_is_named_twice_is_searched_for_once(predictor, crops, run_folder, tmp_path):
    build_gallery(predictor, image_records(crops / "labels.csv"), tmp_path / "searched")
    image, output = str(crops / "3_0_0.png"), tmp_path / "found.json"
    wanted = {"images": [image, str(crops), image], "top": 2, "threshold": None, "cameras": [], "exclude_camera": []}
    where = {"gallery": str(tmp_path / "searched"), "backend": "faiss", "uri": "", "json": str(output), "picture": ""}
    model = {"weights": str(run_folder / "model_final.pth"), "config_file": "", "device": "cpu", "opts": []}
    jobs.search(argparse.Namespace(**wanted, **where, **model))
    content = json.loads(output.read_text())
    found = [query["path"] for query in content["queries"]]
    assert found[0] == image and sorted(found) == sorted(map(str, crops.glob("*.png")))
    assert {len(query["hits"]) for query in content["queries"]} == {2}
