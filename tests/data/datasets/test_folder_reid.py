"""FolderReID."""

import logging

import pytest

from dcal_reid.data import load_dataset
from dcal_reid.errors import InputError


@pytest.fixture
def home(root, cfg):
    cfg.DATASETS.FOLDER.PATH = "dogs"
    for name in (
        "train/rex/c1_0.jpg",
        "train/rex/c10_0.PNG",
        "train/rex/notes.txt",
        "train/ace/c2_0.jpg",
        "train/.cache/c1_1.jpg",
        "query/bob/c1_0.jpg",
        "gallery/bob/0_c2_0.jpg",
        "gallery/rex/c2_0.jpg",
    ):
        path = root / "dogs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root / "dogs"


def test_one_folder_per_identity(home, cfg):
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = r"c(\d+)_"
    dataset = load_dataset("FolderReID", cfg)
    assert dataset.identity_names == ["ace", "bob", "rex"] and dataset.camera_names == ["1", "2", "10"]
    assert [item[1:] for item in dataset.train] == [
        ("folder_0", "folder_1"),
        ("folder_2", "folder_2"),
        ("folder_2", "folder_0"),
    ]
    assert dataset.train[0][0] == str(home / "train/ace/c2_0.jpg")
    assert [item[1:] for item in dataset.query] == [(1, 0)]
    # the name of a folder is the identity in every split
    assert [item[1:] for item in dataset.gallery] == [(1, 1), (2, 1)]


def test_folders_without_images_are_reported(home, cfg, caplog):
    """Their images may be in a folder per camera, or in a format that is not read."""
    for name in ("train/zoe/cam1/0.jpg", "train/kim/0.heic"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        assert "zoe" not in load_dataset("FolderReID", cfg).identity_names
    assert caplog.messages == [
        f"1 folders are in a folder of an identity and are left out: {home}/train/zoe/cam1",
        "1 images are in formats that are not read (convert them to JPEG or PNG) and are left out: "
        f"{home}/train/kim/0.heic",
        f"2 folders have no images directly in them and are left out: {home}/train/kim, {home}/train/zoe",
    ]


def test_images_beside_the_folders_of_identities_are_reported(home, cfg, caplog):
    """A flat query folder, as in Market-1501, exists but is not a split."""
    (home / "query/bob/c1_0.jpg").rename(home / "query/0001_c1.jpg")
    (home / "query/bob").rmdir()
    with (
        caplog.at_level(logging.WARNING, logger="dcal_reid"),
        pytest.raises(InputError, match=r"QUERY_SPLITS asks for 'query'"),
    ):
        _ = load_dataset("FolderReID", cfg).query
    assert f"1 images are in no folder of an identity and are left out: {home}/query/0001_c1.jpg" in caplog.messages


def test_cameras_may_be_unknown(home, cfg):
    dataset = load_dataset("FolderReID", cfg)
    assert not dataset.has_cameras
    assert len({item[2] for item in dataset.query + dataset.gallery}) == 3


def test_splits_are_folders_of_any_name(home, cfg):
    """With train/ and test/ only, every test image is query and gallery."""
    (home / "query").rename(home / "test")
    cfg.DATASETS.FOLDER.QUERY_SPLITS = cfg.DATASETS.FOLDER.GALLERY_SPLITS = ("test",)
    dataset = load_dataset("FolderReID", cfg)
    assert dataset.query == dataset.gallery != []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("c(", "is not a regular expression"),
        (r"c\d+", r"has no group; put the camera in brackets: c\(\\d\+\)"),
        (r"c(\d)_", r"finds no camera in 1 file names: .*c10_0\.PNG"),
        (r"c\d+(x?)", "finds no camera in 6 file names"),
    ],
)
def test_wrong_camera_patterns(home, cfg, pattern, message):
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = pattern
    with pytest.raises(InputError, match=message):
        load_dataset("FolderReID", cfg)


def test_missing_and_empty_folders(root, cfg):
    with pytest.raises(InputError, match=r"DATASETS\.FOLDER\.PATH is empty"):
        load_dataset("FolderReID", cfg)
    cfg.DATASETS.FOLDER.PATH = "dogs"
    with pytest.raises(InputError, match=rf"{root}/dogs' not found"):
        load_dataset("FolderReID", cfg)
    (root / "dogs" / "train" / "rex").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        load_dataset("FolderReID", cfg)


def test_folders_without_splits_and_a_file_are_told_apart(home, cfg):
    cfg.DATASETS.FOLDER.PATH = "dogs/train"
    with pytest.raises(InputError, match=r"dogs/train' holds no images in folders <split>/<identity>/"):
        load_dataset("FolderReID", cfg)
    cfg.DATASETS.FOLDER.PATH = "dogs/train/rex/notes.txt"
    with pytest.raises(InputError, match=r"notes\.txt' is not a folder"):
        load_dataset("FolderReID", cfg)


def test_folders_that_are_no_split_need_no_cameras(home, cfg):
    """For instance folders that an archive leaves."""
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = r"c(\d+)_"
    expected = load_dataset("FolderReID", cfg).train
    other = home / "__MACOSX" / "rex" / "0.jpg"
    other.parent.mkdir(parents=True)
    other.touch()
    assert load_dataset("FolderReID", cfg).train == expected
    cfg.DATASETS.FOLDER.TRAIN_SPLITS = ("train", "__MACOSX")
    with pytest.raises(InputError, match="finds no camera in 1 file names"):
        load_dataset("FolderReID", cfg)
