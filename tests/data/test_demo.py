import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dcal_reid.data import demo
from dcal_reid.data.demo import write_demo_dataset
from dcal_reid.data.demo_figures import CAMERAS, render
from dcal_reid.errors import InputError

SMALL = {"train_identities": 4, "test_identities": 3, "distractors": 5, "junk": 6}
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
# Market-1501's own naming: identity, camera, sequence, frame, detection.
NAME = re.compile(r"(-1|\d{4})_c(\d)s\d_\d{6}_\d{2}\.jpg")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("datasets"), **SMALL)


def labels(folder):
    """(identity, camera) of every file, by Market-1501's pattern."""
    names = sorted(path.name for path in folder.iterdir())
    return [tuple(map(int, NAME.fullmatch(name).groups())) for name in names]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_layout_is_that_of_market1501(dataset):
    assert dataset.name == "demo-reid"
    assert sorted(path.name for path in dataset.iterdir() if path.is_dir()) == sorted(FOLDERS)
    for folder in FOLDERS:
        for path in (dataset / folder).iterdir():
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))


def test_every_identity_is_seen_by_four_cameras_and_train_and_test_share_none(dataset):
    train, query, gallery = (labels(dataset / folder) for folder in FOLDERS)
    assert Counter(train) == {(pid, cam): 2 for pid in (1, 2, 3, 4) for cam in (1, 2, 3, 4)}
    assert Counter(query) == {(pid, cam): 1 for pid in (5, 6, 7) for cam in (1, 2, 3, 4)}
    assert Counter(label for label in gallery if label[0] > 0) == dict.fromkeys(query, 2)


def test_gallery_holds_distractors_and_junk(dataset):
    pids = Counter(pid for pid, _ in labels(dataset / "bounding_box_test"))
    assert pids[0] == SMALL["distractors"]
    assert pids[-1] == SMALL["junk"]


def test_default_size_is_that_of_a_demo(tmp_path):
    dataset = write_demo_dataset(tmp_path)
    assert [len(labels(dataset / folder)) for folder in FOLDERS] == [800, 180, 510]


def test_seed_decides_every_byte(tmp_path, dataset):
    assert contents(write_demo_dataset(tmp_path / "same", **SMALL)) == contents(dataset)
    other = contents(write_demo_dataset(tmp_path / "other", seed=1, **SMALL))
    assert other.keys() == contents(dataset).keys()
    assert all(other[path] != content for path, content in contents(dataset).items())


def test_an_image_does_not_depend_on_how_many_others_there_are(tmp_path, dataset):
    more = contents(write_demo_dataset(tmp_path, **(SMALL | {"distractors": 9, "junk": 8})))
    assert contents(dataset).items() < more.items()


def test_the_same_dataset_is_written_once(tmp_path, monkeypatch):
    dataset = write_demo_dataset(tmp_path, **SMALL)
    monkeypatch.setattr(demo, "render", None)
    assert write_demo_dataset(tmp_path, **SMALL) == dataset


@pytest.mark.parametrize("change", [{"seed": 5}, {"junk": 2}])
def test_another_dataset_takes_the_place_of_the_old_one(tmp_path, change):
    write_demo_dataset(tmp_path / "replaced", **SMALL)
    replaced = write_demo_dataset(tmp_path / "replaced", **(SMALL | change))
    fresh = write_demo_dataset(tmp_path / "fresh", **(SMALL | change))
    assert contents(replaced) == contents(fresh)
    assert [path.name for path in (tmp_path / "replaced").iterdir()] == ["demo-reid"]


def test_a_dataset_of_an_older_version_is_written_anew(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(demo, "VERSION", 0)
    image = next((write_demo_dataset(tmp_path, **SMALL) / "query").iterdir())
    image.unlink()
    monkeypatch.undo()
    assert contents(write_demo_dataset(tmp_path, **SMALL)) == contents(dataset)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop_after(count):
        for number in range(count):
            yield f"query/{number}.jpg", Image.new("RGB", (8, 8))
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_images", lambda **_: stop_after(3))
    with pytest.raises(KeyboardInterrupt):
        write_demo_dataset(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_several_writers_at_once_leave_one_complete_dataset(tmp_path, dataset):
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: write_demo_dataset(tmp_path, **SMALL), range(4)))
    assert set(folders) == {tmp_path / "demo-reid"}
    assert contents(folders[0]) == contents(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["demo-reid"]


def test_somebody_elses_folder_is_refused_and_left_alone(tmp_path):
    mine = tmp_path / "demo-reid" / "photo.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match="move it away"):
        write_demo_dataset(tmp_path)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("stamp", ['{"title": "our demo"}', "[]", "null"])
def test_a_folder_with_somebody_elses_demo_json_is_left_alone(tmp_path, stamp):
    mine = tmp_path / "demo-reid" / "demo.json"
    mine.parent.mkdir()
    mine.write_text(stamp)
    with pytest.raises(InputError, match="is not a generated dataset; move it away"):
        write_demo_dataset(tmp_path, **SMALL)
    assert mine.read_text() == stamp


@pytest.mark.parametrize("name", ["seed", "train_identities", "test_identities", "distractors", "junk"])
def test_impossible_counts_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"{name} of the demo dataset is -1"):
        write_demo_dataset(tmp_path, **{name: -1})
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60))
def test_any_two_identities_differ_in_two_marks(seed, count):
    people = demo._people(count, np.random.default_rng(seed))
    assert len(people) == count
    for first, second in combinations(people, 2):
        assert sum(a != b for a, b in zip(first, second, strict=True)) >= 2


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), camera=st.sampled_from(CAMERAS))
def test_identities_differ_in_small_local_details(seed, camera):
    # The same generator gives the same pose, light, background and noise: only the marks differ.
    first, second = demo._people(2, np.random.default_rng(seed))
    images = [render(marks, camera, np.random.default_rng(seed)) for marks in (first, second)]
    difference = np.abs(np.subtract(*(np.asarray(image, dtype=float) for image in images))).max(axis=2)
    assert 0 < (difference > 8).mean() < 0.1


def test_pixels_alone_find_the_camera_and_not_the_identity(tmp_path):
    dataset = write_demo_dataset(tmp_path, train_identities=1, test_identities=20, distractors=0, junk=0)
    query, gallery = (labels(dataset / folder) for folder in FOLDERS[1:])
    pixels = [
        np.stack(
            [np.asarray(Image.open(path), dtype=np.float32).ravel() for path in sorted((dataset / name).iterdir())]
        )
        for name in FOLDERS[1:]
    ]
    squared = [(values**2).sum(1) for values in pixels]
    distances = squared[0][:, None] - 2 * pixels[0] @ pixels[1].T + squared[1]
    nearest = []
    for (pid, camera), row in zip(query, distances, strict=True):
        valid = [index for index, label in enumerate(gallery) if label != (pid, camera)]
        nearest.append(gallery[min(valid, key=lambda index: row[index])])
    assert np.mean([n[1] == q[1] for n, q in zip(nearest, query, strict=True)]) > 0.9
    assert np.mean([n[0] == q[0] for n, q in zip(nearest, query, strict=True)]) < 0.1
