import pytest
from PIL import Image

from dcal_reid.data.check import check_dataset
from dcal_reid.data.check.files import examine_files


def test_an_empty_and_a_truncated_image_are_broken(dogs, cfg):
    truncated, empty = dogs / "train" / "bob" / "c1_1.jpg", dogs / "gallery" / "rex" / "c2_1.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-200])
    empty.write_bytes(b"")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert [problem.split(": image")[0] for problem in check.problems] == [
        "broken images in train: 1 of 6",
        "broken images in gallery: 1 of 2",
    ]
    assert list(check.splits["train"].broken) == [str(truncated)]
    # Without decoding, the truncated file looks sound.
    quick = check_dataset("FolderReID", cfg, decode=False, workers=0)
    assert [len(split.broken) for split in quick.splits.values()] == [0, 0, 1]
    assert quick.splits["query"].height == check.splits["query"].height


def test_sizes_are_those_after_the_orientation_in_exif(dogs, cfg):
    path = dogs / "query" / "rex" / "c1_1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)  # 16x33, to be turned
    for decode in (True, False):
        query = check_dataset("FolderReID", cfg, decode=decode, workers=0).splits["query"]
        assert (query.width.most, query.height.least) == (33, 16)


def test_damaged_exif_is_no_broken_image(dogs, cfg):
    """Training reads such an image."""
    path = dogs / "query" / "rex" / "c1_1.jpg"
    turned, text = (b"\x03\0\x01\0\0\0\x09\0", b"\x02\0\x02\0\0\0\x36\0")  # no orientation; no number
    for kind_and_value in (turned, text):
        entry = b"\x12\x01" + kind_and_value + b"\0\0"
        Image.open(path).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0")
        for decode in (True, False):
            query = check_dataset("FolderReID", cfg, decode=decode, workers=0).splits["query"]
            assert not query.broken and query.height.least == 33


def test_workers_find_what_one_process_finds(dogs, cfg, write_image):
    for number in range(40):
        write_image(dogs / "train" / "ace" / f"c1_{number + 2}.jpg", 100 + number, (16 + number, 32))
    alone, shared = (check_dataset("FolderReID", cfg, workers=workers) for workers in (0, 2))
    assert alone.as_dict() == shared.as_dict()


@pytest.mark.parametrize("decode", [True, False])
def test_every_file_is_told_of_under_its_own_path(tmp_path, write_image, decode):
    """More files than a batch, some of which cannot be read."""
    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    for number, path in enumerate(paths):
        write_image(tmp_path / path, number % 7, (16 + number % 7, 32))
    (tmp_path / "3.png").write_bytes(b"text")
    (tmp_path / "35.png").unlink()
    (tmp_path / "36.png").unlink()
    (tmp_path / "36.png").mkdir()
    found = examine_files(paths, decode=decode, workers=0)
    assert list(found) == paths
    assert [number for number, path in enumerate(paths) if found[path].size is None] == [3, 35, 36]
    for number, path in enumerate(paths):
        file = found[path]
        if number in (35, 36):
            assert file.digest == b"" and f"{path!r} cannot be read: " in file.error
        elif number == 3:
            assert file.digest and path in file.error
        else:
            assert (file.size, file.error) == ((16 + number % 7, 32), "")
            assert (file.digest == found[paths[0]].digest) == (number % 7 == 0)


def test_no_files():
    assert examine_files([], workers=2) == {}
