from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dcal_reid.data import demo_fgvc
from dcal_reid.data.demo import write_demo_dataset
from dcal_reid.data.demo_fgvc import write_demo_fgvc
from dcal_reid.data.demo_fgvc_figures import SPECIES
from dcal_reid.errors import InputError

SMALL = {"classes": 4, "train_images": 3, "test_images": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_fgvc(tmp_path_factory.mktemp("datasets"), **SMALL)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_layout_is_a_folder_of_images_per_class(dataset):
    assert dataset.name == "demo-fgvc"
    names = {species.name for species in SPECIES[:4]}
    numbers = {"train": ("0001", "0002", "0003"), "val": ("0001", "0002")}
    assert contents(dataset).keys() == {
        f"{part}/{name}/{number}.jpg" for part in numbers for name in names for number in numbers[part]
    }
    for path in dataset.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))


def test_default_size_is_that_of_a_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_fgvc, "render", lambda *_: Image.new("RGB", (8, 8)))
    names = contents(write_demo_fgvc(tmp_path))
    assert sum(name.startswith("train/") for name in names) == 20 * 60
    assert sum(name.startswith("val/") for name in names) == 20 * 12


def test_seed_decides_every_byte(tmp_path, dataset):
    assert contents(write_demo_fgvc(tmp_path / "same", **SMALL)) == contents(dataset)
    other = contents(write_demo_fgvc(tmp_path / "other", seed=1, **SMALL))
    assert other.keys() == contents(dataset).keys()
    assert all(other[path] != content for path, content in contents(dataset).items())


def test_an_image_does_not_depend_on_how_many_others_there_are(tmp_path, dataset):
    more = contents(write_demo_fgvc(tmp_path, classes=5, train_images=4, test_images=3))
    assert contents(dataset).items() < more.items()


def test_train_and_test_share_no_image(dataset):
    images = list(contents(dataset).values())
    assert len(set(images)) == len(images)


def test_the_same_dataset_is_written_once(tmp_path, monkeypatch):
    dataset = write_demo_fgvc(tmp_path, **SMALL)
    monkeypatch.setattr(demo_fgvc, "render", None)
    assert write_demo_fgvc(tmp_path, **SMALL) == dataset


@pytest.mark.parametrize("change", [{"seed": 5}, {"classes": 3}, {"test_images": 1}])
def test_another_dataset_takes_the_place_of_the_old_one(tmp_path, change):
    write_demo_fgvc(tmp_path / "replaced", **SMALL)
    replaced = write_demo_fgvc(tmp_path / "replaced", **(SMALL | change))
    assert contents(replaced) == contents(write_demo_fgvc(tmp_path / "fresh", **(SMALL | change)))
    assert [path.name for path in (tmp_path / "replaced").iterdir()] == ["demo-fgvc"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_fgvc, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        write_demo_fgvc(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_several_writers_at_once_leave_one_complete_dataset(tmp_path, dataset):
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: write_demo_fgvc(tmp_path, **SMALL), range(4)))
    assert set(folders) == {tmp_path / "demo-fgvc"}
    assert contents(folders[0]) == contents(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["demo-fgvc"]


def test_it_stands_beside_the_reid_demo(tmp_path):
    write_demo_dataset(tmp_path, train_identities=1, test_identities=1, distractors=0, junk=0)
    write_demo_fgvc(tmp_path, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"demo-reid", "demo-fgvc"}


def test_somebody_elses_folder_is_refused_and_left_alone(tmp_path):
    mine = tmp_path / "demo-fgvc" / "photo.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match="move it away"):
        write_demo_fgvc(tmp_path)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "value", "least"), [("seed", -1, 0), ("classes", 1, 2), ("train_images", 0, 1), ("test_images", 0, 1)]
)
def test_counts_that_are_too_small_are_refused(tmp_path, name, value, least):
    with pytest.raises(InputError, match=f"{name} of the demo dataset is {value}; it must be at least {least}"):
        write_demo_fgvc(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_more_classes_than_there_are_is_refused(tmp_path):
    with pytest.raises(InputError, match="classes of the demo dataset is 21; it must be at most 20"):
        write_demo_fgvc(tmp_path, classes=21)


def test_whole_images_do_not_tell_the_class(tmp_path):
    dataset = write_demo_fgvc(tmp_path, train_images=6, test_images=3)
    pixels, labels = {}, {}
    for part in ("train", "val"):
        paths = sorted((dataset / part).rglob("*.jpg"))
        pixels[part] = np.stack([np.asarray(Image.open(path), dtype=np.float32).ravel() for path in paths])
        labels[part] = np.array([path.parent.name for path in paths])
    distances = (pixels["train"] ** 2).sum(1) - 2 * pixels["val"] @ pixels["train"].T
    assert (labels["train"][distances.argmin(axis=1)] == labels["val"]).mean() < 0.2
