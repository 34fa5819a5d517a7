"""What every dataset for classification checks, and how fast-reid sees it."""

import logging

import pytest

from dcal_reid.data.datasets import ClassificationDataset
from dcal_reid.errors import InputError


class Birds(ClassificationDataset):
    dataset_name = "birds"


@pytest.fixture
def images(tmp_path):
    """Paths of files that exist."""
    paths = [tmp_path / f"{number}.jpg" for number in range(6)]
    for path in paths:
        path.touch()
    return [str(path) for path in paths]


def test_fast_reid_sees_test_images_as_queries(images):
    dataset = Birds([(images[0], 0), (images[1], 1)], [(images[2], 1), (images[3], 0)], ["wren", "tit"], "birds")
    assert dataset.train == dataset.data == [(images[0], 0, 0), (images[1], 1, 0)]
    assert dataset.test == dataset.query == [(images[2], 1, 0), (images[3], 0, 0)]
    assert dataset.gallery == [] and dataset.class_names == ["wren", "tit"]
    assert dataset.get_num_pids(dataset.train) == 2


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        ([], [(2, 0)], ["wren", "tit"], "has no train images"),
        ([(0, 0), (1, 1)], [], ["wren", "tit"], "has no test images"),
        ([(0, 0)], [(1, 0)], ["wren"], "has 1 class; .* at least 2"),
        ([(0, 0)], [(1, 1)], ["wren", "tit"], "no training image for 1 of 2 classes: 'tit'; add some"),
        ([(0, 0)], [(1, 0)], list("abcdef"), r"no training image for 5 of 6 classes: 'b', 'c', 'd', \.\.\.; add some"),
        ([(0, 0), (1, 2)], [(2, 1)], ["wren", "tit"], r"/1\.jpg' the label 2, but has the classes 0 to 1 only"),
        ([(0, 0), (1, 1)], [(2, -1)], ["wren", "tit"], r"/2\.jpg' the label -1"),
        ([(0, 0), (1, 1)], [(9, 1)], ["wren", "tit"], r"lists 1 images that do not exist: .*/9\.jpg"),
        ([(0, 0), (1, 1)], [(0, 0)], ["wren", "tit"], r"/0\.jpg' in train as 'wren' and in test as 'wren'"),
        ([(0, 0), (1, 1), (1, 0)], [(2, 0)], ["wren", "tit"], r"/1\.jpg' in train as 'tit' and in train as 'wren'"),
        ([(0, 0), (1, 1), (1, 1)], [(2, 0)], ["wren", "tit"], r"/1\.jpg' in train as 'tit' and in train as 'tit'"),
    ],
)
def test_what_cannot_be_used_is_refused(images, tmp_path, train, test, names, message):
    def paths(items):
        return [(str(tmp_path / f"{number}.jpg"), label) for number, label in items]

    with pytest.raises(InputError, match=rf"^the birds .*{message}") as caught:
        Birds(paths(train), paths(test), names, "the birds")
    assert "\n" not in str(caught.value)


def test_one_image_by_two_paths_is_noticed(images, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    train = [(images[0], 0), (images[1], 1)]
    for path in (tmp_path / "link" / "1.jpg", tmp_path / "link" / ".." / tmp_path.name / "1.jpg"):
        with pytest.raises(InputError, match="in train as 'tit' and in test as 'tit'; list each image once"):
            Birds(train, [(str(path), 1)], ["wren", "tit"], "the birds")


def test_a_class_without_test_images_is_a_warning(images, caplog):
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        Birds([(images[0], 0), (images[1], 1)], [(images[2], 0)], ["wren", "tit"], "the birds")
    assert caplog.messages == ["the birds has no test image for 1 of 2 classes: 'tit'"]


def test_a_subset_of_the_official_classes_is_a_warning(images, caplog):
    class Official(Birds):
        official_classes = 3

    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        Official([(images[0], 0), (images[1], 1)], [(images[2], 0), (images[3], 1)], ["wren", "tit"], "the birds")
    assert caplog.messages == ["the birds has 2 classes here, officially 3."]


def test_held_out_images_stand_in_the_place_of_the_test_images(images):
    train = [(images[0], 0), (images[1], 1), (images[2], 0), (images[3], 1), (images[4], 0)]
    dataset = Birds(train, [(images[5], 0)], ["wren", "tit"], "the birds")
    dataset.official = {"train": 5, "test": 1}
    dataset.hold_out(2)
    assert not dataset.official
    assert dataset.train == dataset.data == [(images[0], 0, 0), (images[1], 1, 0), (images[4], 0, 0)]
    assert dataset.test == dataset.query == [(images[2], 0, 0), (images[3], 1, 0)]


def test_a_class_with_too_few_images_to_hold_one_out_is_named(images):
    dataset = Birds([(images[0], 0), (images[1], 1), (images[2], 0)], [(images[5], 0)], ["wren", "tit"], "the birds")
    with pytest.raises(InputError, match=r"HOLD_OUT is 2, but 1 of 2 classes .*: 'tit'; set it lower"):
        dataset.hold_out(2)
