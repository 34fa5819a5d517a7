"""Listing of image files."""

import logging
import os
import unicodedata

import pytest

from dcal_reid.data.datasets.listing import check_files_exist, grouped_images, image_names, images_below
from dcal_reid.errors import InputError


def test_images_are_sorted_whatever_the_case_of_their_suffix(tmp_path):
    """Hidden files do not count: macOS creates "._a.png" beside "a.png"."""
    for name in ("b.JPG", "._a.png", "a.png", "c.jpeg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    assert image_names(str(tmp_path)) == ["a.png", "b.JPG", "c.jpeg"]
    with pytest.raises(InputError, match=r"nowhere.*No such file"):
        image_names(str(tmp_path / "nowhere"))


def test_a_link_that_leads_back_gives_no_image_twice(tmp_path):
    home = tmp_path / "crops"
    (home / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in (home / "a.jpg", home / "sub" / "b.jpg", tmp_path / "elsewhere" / "c.jpg"):
        path.touch()
    (home / "sub" / "up").symlink_to(home)
    (home / "other").symlink_to(tmp_path / "elsewhere")
    found = [str(home / name) for name in ("a.jpg", "other/c.jpg", "sub/b.jpg")]
    assert images_below(str(home)) == found


def test_images_in_other_formats_are_told_of(tmp_path, caplog):
    for name in ("a.jpg", "b.heic", "notes.txt"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        assert images_below(str(tmp_path)) == [str(tmp_path / "a.jpg")]
        assert image_names(str(tmp_path)) == ["a.jpg"]
        assert list(grouped_images([str(tmp_path)], "a class")) == []
    message, again, loose, last = caplog.messages
    assert message.startswith("1 images are in formats that are not read")
    assert message.endswith(str(tmp_path / "b.heic"))
    assert message == again == last and loose.startswith("1 images are in no folder of a class")


def test_a_folder_with_the_name_of_an_image_is_none(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    assert image_names(str(tmp_path)) == []


def test_missing_files_are_counted_and_the_first_three_named(tmp_path):
    (tmp_path / "a.jpg").touch()
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e/f.jpg")]
    check_files_exist(paths[:1], "the list")
    with pytest.raises(InputError, match=r"the list lists 4 images .*b\.jpg, .*c\.jpg, .*d\.jpg, \.\.\."):
        check_files_exist(paths, "the list")


def test_a_file_that_can_be_opened_by_another_spelling_exists(tmp_path, monkeypatch):
    """As on macOS, where a list and its folder may differ in the normal form of an accent or in capitals."""
    names, listdir = ["caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg", "a.jpg"], os.listdir
    for name in names:
        (tmp_path / name).touch()
    paths = [str(tmp_path / name) for name in names]
    monkeypatch.setattr(os, "listdir", lambda path: [unicodedata.normalize("NFD", n).upper() for n in listdir(path)])
    check_files_exist(paths, "the list")
    with pytest.raises(InputError, match=r"the list lists 1 images that do not exist: .*b\.jpg"):
        check_files_exist([*paths, str(tmp_path / "b.jpg")], "the list")


def test_files_of_the_current_folder_exist(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    check_files_exist(["a.jpg"], "the list")
    with pytest.raises(InputError, match=r"the list lists 1 images that do not exist: b\.jpg"):
        check_files_exist(["a.jpg", "b.jpg"], "the list")


@pytest.mark.skipif(os.sep == "\\", reason="there it is a separator")
def test_paths_from_windows_are_recognised(tmp_path):
    with pytest.raises(InputError, match=r"images that do not exist: .*; write / in place of \\$"):
        check_files_exist([str(tmp_path / "sub\\a.jpg")], "the list")
