"""Samples and batches: labels, broken images, and a generator that is left as it was."""

import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from dcal_reid.data.image_sets import EvaluationImages, TrainImages, collate
from dcal_reid.errors import InputError

RESIZE = v2.Resize((8, 4))


@pytest.fixture
def items(tmp_path, write_image):
    """Identities m_2 (3 images), m_10 (2 images) and m_1 (1 image) in cameras c_9 and c_10."""
    items = []
    for number, pid in enumerate(["m_2", "m_2", "m_2", "m_10", "m_10", "m_1"]):
        path = tmp_path / f"{number}.png"
        write_image(path, number)
        items.append((str(path), pid, ("c_9", "c_10")[number % 2]))
    return items


def break_image(path):
    with open(path, "wb") as file:
        file.write(b"broken")


def test_labels_are_numbered_in_natural_order(items):
    """Audit, row 23: fast-reid numbers m_10 and c_10 before m_2 and c_9."""
    images = TrainImages(items, RESIZE, skip_broken=False)
    assert images.pids == ["m_1", "m_2", "m_10"] and images.num_classes == 3
    assert images.cams == ["c_9", "c_10"] and images.num_cameras == 2
    samples = [images[index, 0] for index in range(len(images))]
    assert [sample["targets"] for sample in samples] == [1, 1, 1, 2, 2, 0]
    assert [sample["camids"] for sample in samples] == [0, 1, 0, 1, 0, 1]
    assert [sample["img_paths"] for sample in samples] == [item[0] for item in items]


def test_a_sample_depends_on_its_seed_alone_and_leaves_every_generator_alone(items):
    images = TrainImages(items, v2.Compose([RESIZE, v2.ColorJitter(0.5, 0.5, 0.5, 0.5)]), skip_broken=False)
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    threads = torch.get_num_threads()
    first = images[0, 5]["images"]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1] and np.array_equal(np.random.get_state()[1], states[2])
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert torch.equal(images[0, 5]["images"], first)
    assert not torch.equal(images[0, 6]["images"], first)


def test_a_broken_image_is_an_error_that_names_it(items):
    break_image(items[1][0])
    error = TrainImages(items, RESIZE, skip_broken=False)[1, 0]
    assert isinstance(error, InputError) and "1.png" in str(error)
    tests = [(path, 0, 0) for path, _, _ in items]
    error = EvaluationImages(tests, RESIZE, skip_broken=False)[1]
    assert isinstance(error, InputError) and "1.png" in str(error)


def test_a_broken_training_image_is_replaced_by_one_of_its_identity(items):
    break_image(items[0][0])
    images = TrainImages(items, RESIZE, skip_broken=True)
    samples = [images[0, seed] for seed in range(20)]
    assert {sample["img_paths"] for sample in samples} == {items[1][0], items[2][0]}
    assert all(sample["broken_paths"] == [items[0][0]] and sample["targets"] == 1 for sample in samples)
    # the camera is that of the replacement
    assert {(s["img_paths"], s["camids"]) for s in samples} == {(items[1][0], 1), (items[2][0], 0)}
    assert images[0, 3]["img_paths"] == samples[3]["img_paths"]


def test_all_broken_images_on_the_way_are_named(items):
    break_image(items[0][0])
    break_image(items[1][0])
    images = TrainImages(items, RESIZE, skip_broken=True)
    for seed in range(10):
        sample = images[0, seed]
        assert sample["img_paths"] == items[2][0]
        assert sample["broken_paths"] in ([items[0][0]], [items[0][0], items[1][0]])


def test_an_identity_without_a_readable_image_is_an_error(items):
    for path, _, _ in items[3:5]:
        break_image(path)
    error = TrainImages(items, RESIZE, skip_broken=True)[3, 0]
    assert isinstance(error, InputError)
    assert "none of the 2 images of identity or class 'm_10' can be decoded" in str(error)


def test_batches_of_test_images_leave_broken_ones_out(items):
    break_image(items[1][0])
    images = EvaluationImages([(path, 70 + i, i) for i, (path, _, _) in enumerate(items)], RESIZE, skip_broken=True)
    numbers = ("targets", "camids", "indices")
    batch = collate([images[i] for i in range(3)], (8, 4), numbers)
    assert batch["images"].shape == (2, 3, 8, 4) and batch["images"].dtype == torch.uint8
    assert batch["targets"].tolist() == [70, 72] and batch["targets"].dtype == torch.int64
    assert batch["indices"].tolist() == batch["camids"].tolist() == [0, 2]
    assert batch["img_paths"] == [items[0][0], items[2][0]]
    assert batch["broken_paths"] == [items[1][0]]


def test_a_batch_of_broken_images_is_empty_not_missing(items):
    break_image(items[1][0])
    images = EvaluationImages([(path, 0, 0) for path, _, _ in items], RESIZE, skip_broken=True)
    batch = collate([images[1]], (8, 4), ("targets", "camids", "indices"))
    assert batch["images"].shape == (0, 3, 8, 4) and batch["images"].dtype == torch.uint8
    assert batch["targets"].shape == batch["indices"].shape == (0,) and batch["targets"].dtype == torch.int64
    assert batch["img_paths"] == [] and batch["broken_paths"] == [items[1][0]]


def test_an_error_takes_the_place_of_its_batch(items):
    images = TrainImages(items, RESIZE, skip_broken=False)
    error = InputError("this one")
    assert collate([images[0, 0], error, images[1, 0]], (8, 4), ("targets", "camids")) is error


def test_test_identities_must_be_integers(items):
    EvaluationImages([(items[0][0], np.int64(3), 0)], RESIZE, skip_broken=False)
    with pytest.raises(InputError, match=r"0\.png' has identity and camera \['m_2', 'c_9'\]"):
        EvaluationImages(items, RESIZE, skip_broken=False)
