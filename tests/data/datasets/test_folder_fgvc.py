"""ImageFolderFGVC and DemoFGVC."""

import logging

import pytest
from torchvision.datasets import ImageFolder

from dcal_reid.data import load_dataset
from dcal_reid.errors import InputError

FILES = (
    "train/2 spots/a.jpg",
    "train/2 spots/notes.txt",
    "train/10 spots/b.PNG",
    "train/10 spots/a.jpg",
    "train/.cache/c.jpg",
    "train/readme.txt",
    "val/10 spots/a.jpg",
    "val/2 spots/a.jpg",
)


def write(home, files=FILES):
    for name in files:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()


@pytest.fixture
def beetles(root, cfg):
    write(root / "beetles")
    cfg.DATASETS.CLASS_FOLDER.PATH = "beetles"
    return root / "beetles"


def test_one_folder_per_class(beetles, cfg):
    (beetles / "train/2 spots/._a.jpg").touch()  # as macOS creates it
    dataset = load_dataset("ImageFolderFGVC", cfg)
    assert dataset.class_names == ["2 spots", "10 spots"]
    assert dataset.train == [
        (str(beetles / "train/2 spots/a.jpg"), 0, 0),
        (str(beetles / "train/10 spots/a.jpg"), 1, 0),
        (str(beetles / "train/10 spots/b.PNG"), 1, 0),
    ]
    assert [item[1] for item in dataset.test] == [0, 1]


def test_images_beside_the_folders_of_classes_are_reported(beetles, cfg, caplog):
    write(beetles, ["train/b.jpg", "val/a.jpg"])
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        load_dataset("ImageFolderFGVC", cfg)
    images = f"{beetles}/train/b.jpg, {beetles}/val/a.jpg"
    assert caplog.messages == [f"2 images are in no folder of a class and are left out: {images}"]


def test_what_is_left_out_of_a_class_is_reported(beetles, cfg, caplog):
    """Photographs in a phone's format, and a folder per day."""
    write(beetles, ["train/2 spots/c.HEIC", "val/10 spots/monday/a.jpg", "train/2 spots/d.jfif"])
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        dataset = load_dataset("ImageFolderFGVC", cfg)
    home = beetles / "train/2 spots"
    assert [item[0] for item in dataset.train[:2]] == [str(home / "a.jpg"), str(home / "d.jfif")]
    assert caplog.messages == [
        f"1 folders are in a folder of a class and are left out: {beetles}/val/10 spots/monday",
        "1 images are in formats that are not read (convert them to JPEG or PNG) and are left out: "
        f"{beetles}/train/2 spots/c.HEIC",
    ]


def test_classes_agree_with_torchvisions(beetles, cfg):
    (beetles / "train/.cache/c.jpg").unlink()
    (beetles / "train/.cache").rmdir()
    folder = ImageFolder(beetles / "train")
    dataset = load_dataset("ImageFolderFGVC", cfg)
    ours = {(path, dataset.class_names[label]) for path, label, _ in dataset.train}
    assert ours == {(path, folder.classes[label]) for path, label in folder.samples}


def test_the_folders_may_have_other_names(beetles, cfg):
    (beetles / "train").rename(beetles / "seen")
    (beetles / "val").rename(beetles / "unseen")
    cfg.DATASETS.CLASS_FOLDER.TRAIN_FOLDER, cfg.DATASETS.CLASS_FOLDER.TEST_FOLDER = "seen", "unseen"
    assert len(load_dataset("ImageFolderFGVC", cfg).train) == 3


@pytest.mark.parametrize("path", ["train/no spots", "val/no spots"])
def test_a_class_without_training_images(beetles, cfg, path):
    """An empty folder in train; a folder in val alone."""
    (beetles / path).mkdir()
    if path.startswith("val"):
        (beetles / path / "a.jpg").touch()
    with pytest.raises(InputError, match="no training image for 1 of 3 classes: 'no spots'"):
        load_dataset("ImageFolderFGVC", cfg)


def test_testing_on_the_training_images_is_refused(beetles, cfg):
    cfg.DATASETS.CLASS_FOLDER.TEST_FOLDER = "train"
    with pytest.raises(InputError, match="in train as '2 spots' and in test as '2 spots'"):
        load_dataset("ImageFolderFGVC", cfg)


def test_missing_folders(root, cfg):
    with pytest.raises(InputError, match=r"DATASETS\.CLASS_FOLDER\.PATH is empty"):
        load_dataset("ImageFolderFGVC", cfg)
    cfg.DATASETS.CLASS_FOLDER.PATH = "beetles"
    with pytest.raises(InputError, match=rf"{root}/beetles' not found"):
        load_dataset("ImageFolderFGVC", cfg)
    write(root / "beetles", FILES[:3])
    message = r"beetles/val', which DATASETS\.CLASS_FOLDER\.TEST_FOLDER names, not found; .*README\.md"
    with pytest.raises(InputError, match=message):
        load_dataset("ImageFolderFGVC", cfg)


def test_the_demo_needs_no_config(root, cfg):
    with pytest.raises(InputError, match=rf"DemoFGVC: '{root}/demo-fgvc' not found"):
        load_dataset("DemoFGVC", cfg)
    write(root / "demo-fgvc")
    dataset = load_dataset("DemoFGVC", cfg)
    assert dataset.class_names == ["2 spots", "10 spots"] and len(dataset.train) == 3 and len(dataset.test) == 2
