import json
import os

import pytest
from PIL import Image

from dcal_reid.data.generated import check_at_least, write_once
from dcal_reid.errors import InputError

STAMP = {"version": 1, "seed": 0}


def images(*names):
    """Images, made one after the other when they are asked for."""
    return ((name, Image.new("RGB", (8, 8), "red")) for name in names)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def untouched():
    pytest.fail("images were made")
    yield


def test_a_dataset_is_written_with_its_stamp(tmp_path):
    folder = tmp_path / "some" / "root" / "demo"
    assert write_once(folder, STAMP, images("train/a/1.jpg", "2.jpg")) == folder
    assert files(folder) == {"train/a/1.jpg", "2.jpg", "demo.json"}
    assert json.loads((folder / "demo.json").read_text()) == STAMP
    with Image.open(folder / "2.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (8, 8))


def test_what_is_there_is_not_made_again(tmp_path):
    write_once(tmp_path / "demo", STAMP, images("1.jpg"))
    assert write_once(tmp_path / "demo", dict(reversed(STAMP.items())), untouched()) == tmp_path / "demo"


def test_of_another_stamp_nothing_is_left(tmp_path):
    write_once(tmp_path / "demo", STAMP, images("old.jpg"))
    write_once(tmp_path / "demo", STAMP | {"version": 2}, images("new.jpg"))
    assert files(tmp_path / "demo") == {"new.jpg", "demo.json"} and os.listdir(tmp_path) == ["demo"]


def test_a_failure_leaves_the_old_one(tmp_path):
    write_once(tmp_path / "demo", STAMP, images("old.jpg"))

    def broken():
        yield from images("new.jpg")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_once(tmp_path / "demo", STAMP | {"version": 2}, broken())
    assert files(tmp_path / "demo") == {"old.jpg", "demo.json"} and os.listdir(tmp_path) == ["demo"]


@pytest.mark.parametrize("before", [None, 0])
def test_another_process_may_be_first(tmp_path, before):
    """It wrote the same while the images were made, with or without an older dataset there, and already reads it."""
    folder, theirs = tmp_path / "demo", []
    if before is not None:
        write_once(folder, {"version": before}, images("old.jpg"))

    def overtaken():
        write_once(folder, STAMP, images("1.jpg"))
        theirs.append((folder / "1.jpg").stat().st_ino)
        yield from images("1.jpg")

    assert write_once(folder, STAMP, overtaken()) == folder
    assert files(folder) == {"1.jpg", "demo.json"} and os.listdir(tmp_path) == ["demo"]
    assert theirs == [(folder / "1.jpg").stat().st_ino]


def test_what_somebody_else_put_there_meanwhile_stays(tmp_path):
    folder = tmp_path / "demo"

    def overtaken():
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(b"mine")
        yield from images("1.jpg")

    with pytest.raises(OSError):
        write_once(folder, STAMP, overtaken())
    assert files(folder) == {"photo.jpg"} and os.listdir(tmp_path) == ["demo"]


@pytest.mark.parametrize("kind", ["file", "empty folder", "folder"])
def test_what_is_no_generated_dataset_is_refused(tmp_path, kind):
    mine = tmp_path / "demo"
    if kind == "file":
        mine.write_text("mine")
    else:
        mine.mkdir()
        if kind == "folder":
            (mine / "demo.json").write_text('{"version": ')
    with pytest.raises(InputError, match="exists and is not a generated dataset; move it away"):
        write_once(mine, STAMP, untouched())
    assert mine.exists() and os.listdir(tmp_path) == ["demo"]


def test_the_first_count_that_is_too_small_is_named():
    least = {"seed": 0, "classes": 2, "images": 1}
    check_at_least(least, {"seed": 0, "classes": 2, "images": 1})
    check_at_least(least, {})
    with pytest.raises(InputError, match="classes of the demo dataset is 1; it must be at least 2"):
        check_at_least(least, {"seed": 5, "classes": 1, "images": 0})
