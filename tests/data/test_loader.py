"""The loaders as the trainer and the evaluator see them. Audit, sections 1 (loader rows), 2 (rows 18 to 21) and 4."""

import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
import torch
from fastreid.utils import comm
from PIL import Image

from dcal_reid.data import (
    build_classification_test_loader,
    build_distractor_loader,
    build_test_loader,
    build_train_loader,
)
from dcal_reid.data.datasets import ImageFolderFGVC
from dcal_reid.errors import InputError


@pytest.fixture
def processes(monkeypatch):
    """A function (rank, world size, local size) that makes this process one of several."""

    def pretend(rank, world_size, local_size=None):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
        monkeypatch.setattr(comm, "get_local_size", lambda: local_size or world_size)

    return pretend


@pytest.fixture(params=[0, 2], ids=["no workers", "2 workers"])
def num_workers(request, cfg, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    cfg.DATALOADER.NUM_WORKERS = request.param


def take(loader, number):
    return list(itertools.islice(loader, number))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]) if torch.is_tensor(value) else value == second[key], key


def test_a_training_batch(market, cfg):
    loader = build_train_loader(cfg)
    assert loader.dataset.num_classes == 6 and len(loader.dataset) == len(loader.dataset.img_items) == 18
    assert loader.iters_per_epoch == 18 // 8
    batch = next(iter(loader))
    assert batch["images"].shape == (8, 3, 32, 16) and batch["images"].dtype == torch.uint8
    assert batch["targets"].dtype == batch["camids"].dtype == torch.int64
    assert batch["targets"].tolist() == [pid for pid in batch["targets"][::2].tolist() for _ in range(2)]
    assert set(batch["targets"].tolist()) <= set(range(6)) and set(batch["camids"].tolist()) <= set(range(3))
    assert len(batch["img_paths"]) == 8 and batch["broken_paths"] == []
    labels = {
        path: (pid, cam)
        for (path, _, _), pid, cam in zip(
            loader.dataset.img_items, loader.dataset.labels, loader.dataset.camera_labels, strict=True
        )
    }
    assert [labels[path] for path in batch["img_paths"]] == list(
        zip(batch["targets"].tolist(), batch["camids"].tolist(), strict=True)
    )


def test_training_never_ends(market, cfg):
    assert len(take(build_train_loader(cfg), 15)) == 15


def test_batches_do_not_depend_on_the_number_of_workers(market, cfg, monkeypatch):
    """Audit, row 18: with fast-reid a run is repeated only by luck."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    alone = take(build_train_loader(cfg), 5)
    for workers in (1, 3):
        cfg.DATALOADER.NUM_WORKERS = workers
        for first, second in zip(alone, take(build_train_loader(cfg), 5), strict=True):
            assert_same(first, second)
    cfg.SEED = 1
    assert take(build_train_loader(cfg), 1)[0]["img_paths"] != alone[0]["img_paths"]


@pytest.mark.parametrize("build", [build_train_loader, build_distractor_loader])
def test_a_resumed_run_sees_the_batches_it_would_have_seen(market, cfg, num_workers, build):
    cfg.MODEL.DCAL.PWCA.EXTERNAL = ("Market1501",)
    whole = take(build(cfg), 9)
    for first, second in zip(whole[6:], take(build(cfg).batches(6), 3), strict=True):
        assert_same(first, second)


def test_distractors_have_random_numbers_of_their_own(market, cfg):
    """With the random numbers of the training batches, and the same data set, each image would be its own
    distractor."""
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.MODEL.DCAL.PWCA.EXTERNAL = "TrainingSampler", ("Market1501",)
    loaders = build_train_loader(cfg), build_distractor_loader(cfg)
    images, distractors = (itertools.chain.from_iterable(take(loader.batch_sampler, 9)) for loader in loaders)
    pairs = list(zip(images, distractors, strict=True))
    assert sum(image == distractor for (image, _), (distractor, _) in pairs) < 18
    assert not {seed for (_, seed), _ in pairs} & {seed for _, (_, seed) in pairs}


def test_a_distractor_that_two_data_sets_have_is_one(market, cfg):
    cfg.MODEL.DCAL.PWCA.EXTERNAL = ("Market1501", "Market1501")
    assert len(build_distractor_loader(cfg).dataset) == 18


def test_images_that_are_held_out_are_no_distractors(class_cfg):
    class_cfg.MODEL.DCAL.PWCA.EXTERNAL, class_cfg.DATASETS.HOLD_OUT = class_cfg.DATASETS.NAMES, 2
    training, distractors = build_train_loader(class_cfg), build_distractor_loader(class_cfg)
    assert {path for path, *_ in distractors.dataset.img_items} == {path for path, *_ in training.dataset.img_items}


@pytest.mark.parametrize("sampler", ["TrainingSampler", "NaiveIdentitySampler", "BalancedIdentitySampler"])
def test_processes_share_the_batches_of_one(market, cfg, processes, sampler):
    """Audit, row 19: with fast-reid's generators two processes can get the same images."""
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    whole = take(build_train_loader(cfg), 4)
    parts = []
    for rank in range(2):
        processes(rank, 2)
        parts.append(take(build_train_loader(cfg), 4))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert len(first["images"]) == len(second["images"]) == 4
        assert torch.equal(batch["images"], torch.cat([first["images"], second["images"]]))
        assert batch["img_paths"] == first["img_paths"] + second["img_paths"]


def test_the_global_generators_are_left_alone(market, cfg):
    """A DataLoader draws a seed from torch's generator whenever it is iterated, unless it is given another one."""
    torch.manual_seed(3)
    np.random.seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    take(build_train_loader(cfg), 3)
    list(build_test_loader(cfg, "Market1501")[0])
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpy_before)


def test_test_batches(market, cfg, num_workers):
    loader, num_query = build_test_loader(cfg, "Market1501")
    batches = list(loader)
    assert num_query == 3 and len(loader) == len(batches) == 3
    assert [len(batch["images"]) for batch in batches] == [4, 4, 2]
    joined = {key: torch.cat([batch[key] for batch in batches]).tolist() for key in ("targets", "camids", "indices")}
    assert joined["indices"] == list(range(10))
    assert joined["targets"] == [1, 3, 1501, 0, 1, 1, 3, 3, 1501, 1501]
    assert joined["camids"] == [0, 0, 0, 2, 0, 1, 0, 1, 0, 1]
    assert batches[0]["images"].dtype == torch.uint8 and batches[0]["images"].shape[1:] == (3, 32, 16)
    assert [path for batch in batches for path in batch["img_paths"]] == [item[0] for item in loader.dataset.img_items]
    for first, second in zip(batches, loader, strict=True):
        assert_same(first, second)


@pytest.mark.parametrize("world_size", [2, 3, 7, 16])
def test_processes_test_contiguous_parts_without_gap_or_overlap(market, cfg, processes, world_size):
    """Audit: TEST batch below the number of processes; more processes than images leave some without any."""
    indices = []
    for rank in range(world_size):
        processes(rank, world_size)
        loader, num_query = build_test_loader(cfg, "Market1501")
        assert num_query == 3
        mine = [index for batch in loader for index in batch["indices"].tolist()]
        assert len(mine) <= -(-10 // world_size)
        indices += mine
    assert indices == list(range(10))


def test_banners_are_cut_off_in_training_and_in_test(class_cfg, tmp_path, monkeypatch):
    """The result is the same as for images without banners."""

    def batches():
        test_loader, _ = build_classification_test_loader(class_cfg, "ImageFolderFGVC")
        return take(build_train_loader(class_cfg), 1) + take(test_loader, 1)

    monkeypatch.setattr(ImageFolderFGVC, "banner", 10)
    with_banner = batches()
    monkeypatch.setattr(ImageFolderFGVC, "banner", 0)
    for path in tmp_path.glob("images/*/*/*.png"):
        Image.open(path).crop((0, 0, 40, 30)).save(path)
    for first, second in zip(with_banner, batches(), strict=True):
        assert_same(first, second)


def test_a_broken_training_image_stops_with_one_line(market, cfg, num_workers):
    """Audit: with fast-reid a corrupt image blocks the main process for ever."""
    for path in (market / "bounding_box_train").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"bounding_box_train/.*jpg' cannot be decoded") as caught:
        next(iter(build_train_loader(cfg)))
    assert "\n" not in str(caught.value)


def test_the_workers_end_soon_after_an_error(market, cfg, num_workers):
    for path in (market / "bounding_box_train").iterdir():
        path.write_bytes(b"broken")
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        next(iter(build_train_loader(cfg)))
    assert not multiprocessing.active_children() and time.perf_counter() - start < 4
    assert caught.value.__traceback__ is not None  # still held, but the workers have ended nevertheless


def test_a_broken_test_image_stops_with_one_line(market, cfg, num_workers):
    (market / "query" / "0003_c1s1_000001_00.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003_c1s1_000001_00\.jpg' is empty") as caught:
        list(build_test_loader(cfg, "Market1501")[0])
    assert "\n" not in str(caught.value)


def test_broken_images_are_skipped_and_named(market, cfg, num_workers):
    cfg.DATALOADER.BROKEN_IMAGES = "skip"
    broken = market / "bounding_box_train" / "0002_c1s1_000001_00.jpg"
    broken.write_bytes(b"broken")
    batches = take(build_train_loader(cfg), 8)
    assert all(len(batch["images"]) == 8 and str(broken) not in batch["img_paths"] for batch in batches)
    assert {path for batch in batches for path in batch["broken_paths"]} == {str(broken)}
    query = market / "query" / "0003_c1s1_000001_00.jpg"
    query.write_bytes(b"")
    loader, num_query = build_test_loader(cfg, "Market1501")
    batches = list(loader)
    assert num_query == 3
    assert [index for batch in batches for index in batch["indices"].tolist()] == [0, *range(2, 10)]
    assert [path for batch in batches for path in batch["broken_paths"]] == [str(query)]


def test_a_batch_larger_than_the_dataset_is_refused(market, cfg):
    """Audit: fast-reid divides by zero."""
    cfg.SOLVER.IMS_PER_BATCH = 20
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    with pytest.raises(InputError, match="IMS_PER_BATCH 20 is more than the 18 training images"):
        build_train_loader(cfg)


def test_what_can_be_known_is_checked_before_the_first_image(market, cfg, processes):
    cfg.DATALOADER.NUM_INSTANCE = 1
    with pytest.raises(InputError, match="8 identities in a batch, but the training set has 6"):
        build_train_loader(cfg)
    cfg.DATALOADER.NUM_INSTANCE = 4
    processes(0, 4)
    with pytest.raises(InputError, match="not a multiple of 4 processes x 4"):
        build_train_loader(cfg)
    cfg.DATALOADER.BROKEN_IMAGES = "ignore"
    with pytest.raises(InputError, match="BROKEN_IMAGES is 'ignore'; choose stop or skip"):
        build_train_loader(cfg)


def test_workers_are_capped_to_the_cores_of_this_process(market, cfg, processes, monkeypatch, caplog):
    """Audit, row 21: fast-reid's test loader always has 4 workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    cfg.DATALOADER.NUM_WORKERS = 3
    assert build_train_loader(cfg).num_workers == build_test_loader(cfg, "Market1501")[0].num_workers == 3
    processes(0, 2)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        loader = build_train_loader(cfg)
    assert loader.num_workers == 2
    assert "DATALOADER.NUM_WORKERS 3 is capped to 2" in caplog.text
    processes(0, 4, local_size=2)  # as on two machines
    assert build_test_loader(cfg, "Market1501")[0].num_workers == 2
    cfg.DATALOADER.NUM_WORKERS = 0
    assert build_train_loader(cfg).num_workers == 0


def test_workers_can_be_spawned(market, cfg):
    """Where processes are not forked, everything that a worker needs is pickled."""
    for loader in (build_train_loader(cfg), build_test_loader(cfg, "Market1501")[0]):
        dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
        keys = next(iter(loader.batch_sampler))
        assert_same(collate([dataset[key] for key in keys]), next(iter(loader)))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal can be blocked")
def test_ctrl_c_while_workers_start_leaves_them_alone(market, cfg, monkeypatch):
    """Spawned workers import for seconds before they ignore it."""
    cfg.DATALOADER.NUM_WORKERS = 1
    loader, start = build_train_loader(cfg), multiprocessing.context.SpawnProcess.start
    loader.multiprocessing_context = "spawn"

    def interrupted(process):
        start(process)
        os.kill(process.pid, signal.SIGINT)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", interrupted)
    assert len(next(iter(loader))["images"]) == 8
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_memory_is_pinned_for_cuda_alone(market, cfg, monkeypatch):
    """Audit: fast-reid's loader always pins, and fails without a driver."""
    assert not build_train_loader(cfg).pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not build_train_loader(cfg).pin_memory
    cfg.MODEL.DEVICE = "auto"
    assert build_train_loader(cfg).pin_memory and build_test_loader(cfg, "Market1501")[0].pin_memory
