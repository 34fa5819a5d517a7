"""Training and test loaders for any device; batches stay on the CPU as uint8."""

import functools
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import multiprocessing
from torch.utils.data import BatchSampler, DataLoader

from ..errors import InputError
from ..task import is_classification
from .datasets.loading import load_classes, load_dataset, load_test_items, load_train_items
from .image_sets import EvaluationImages, TrainImages, collate
from .samplers import GlobalBatchSampler, RankBatches, TrainingSampler, build_sampler
from .transforms import build_transforms, output_size

__all__ = [
    "available_cores",
    "build_classification_test_loader",
    "build_distractor_loader",
    "build_path_loader",
    "build_test_loader",
    "build_train_loader",
]

logger = logging.getLogger(__name__)


class ImageLoader(DataLoader):
    """A DataLoader that raises in the main process an ``InputError`` that a worker returns in place of a batch.

    Workers live for one pass over the loader. Training is a single endless pass, so there is no pause between epochs;
    ``persistent_workers`` would keep a failed pass alive, which delays the end of the process by 5 s per worker.
    """

    def batches(self, start_iter: int) -> Iterator[dict]:
        """Training batches from iteration ``start_iter`` on."""
        self.batch_sampler.start = start_iter
        return iter(self)

    def __iter__(self) -> Iterator[dict]:
        for batch in self._started():
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def _started(self) -> Iterator:
        """Block Ctrl-C while workers start; they inherit this. Spawned workers import for seconds before they can
        ignore it."""
        if not self.num_workers or not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().__iter__()
        if (self.multiprocessing_context or multiprocessing).get_start_method() != "fork":
            resource_tracker.ensure_running()  # in some Python releases, starting it unblocks the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def build_train_loader(cfg: CfgNode) -> ImageLoader:
    """Endless training batches of DATASETS.NAMES.

    The contents of a batch, including augmentation, depend on SEED, the iteration and the position in the global
    batch, not on NUM_WORKERS or any random number generator of the process.

    Returns:
        A loader with ``dataset`` (a ``TrainImages``) and ``iters_per_epoch``. A batch is a dict: ``images``
        (B, 3, H, W) uint8, ``targets`` (B,) int64 labels of identities or classes, ``camids`` (B,) int64 camera
        labels, ``img_paths``, and ``broken_paths``, images that were replaced. B = SOLVER.IMS_PER_BATCH / number of
        processes. The loader also has ``class_names``, which is None for re-identification.

    Raises:
        InputError: a config, dataset or image that cannot be used; images are checked when they are loaded.
    """
    classes = None
    if is_classification(cfg):
        classes = load_classes(cfg, cfg.DATASETS.NAMES[0])
        # TrainImages numbers these strings in natural order; every class has a training image, so its number is its
        # label.
        items = [(path, str(label), "0") for path, label, _ in classes.train]
    else:
        items = load_train_items(cfg)
    transform = build_transforms(cfg, is_train=True, banner=classes.banner if classes else 0)
    dataset = TrainImages(items, transform, _skip_broken(cfg))
    sampler = build_sampler(cfg, dataset.labels, dataset.camera_labels)
    iters_per_epoch = len(dataset) // sampler.batch_size
    if not iters_per_epoch:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH {sampler.batch_size} is more than the {len(dataset)} training images; lower it"
        )
    loader = _endless_loader(cfg, dataset, sampler)
    loader.iters_per_epoch = iters_per_epoch
    loader.class_names = list(classes.class_names) if classes else None
    what = "classes" if classes else "identities"
    logger.info(
        "%d %s, %d images, %s: %d iterations per epoch",
        *(dataset.num_classes, what, len(dataset), type(sampler).__name__, iters_per_epoch),
    )
    return loader


def build_distractor_loader(cfg: CfgNode) -> ImageLoader:
    """Endless batches of images of MODEL.DCAL.PWCA.EXTERNAL, as large as the training batches.

    Returns:
        A loader whose batches look like those of ``build_train_loader``; only their ``images`` are meaningful.

    Raises:
        InputError: as ``build_train_loader``; also no data set, or fewer images than in a batch.
    """
    names = tuple(cfg.MODEL.DCAL.PWCA.EXTERNAL)
    # If the training set itself is among them, leave out its held-out images.
    classes = cfg.DATASETS.NAMES if is_classification(cfg) else ()
    datasets = (load_classes(cfg, name) if name in classes else load_dataset(name, cfg) for name in names)
    paths = sorted({path for dataset in datasets for path, *_ in dataset.train})
    if len(paths) < cfg.SOLVER.IMS_PER_BATCH:
        raise InputError(
            f"MODEL.DCAL.PWCA.EXTERNAL is {names}, which has {len(paths)} training images; name data sets with at "
            f"least SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}"
        )
    # Distractors have no identities: any image can replace a broken one.
    items = [(path, "0", "0") for path in paths]
    dataset = TrainImages(items, build_transforms(cfg, is_train=True), _skip_broken(cfg))
    # With the seed of the training batches, a distractor would be augmented like its image, and if the training set
    # itself is named, it would be that image.
    sampler = TrainingSampler(
        dataset.labels, dataset.camera_labels, cfg.SOLVER.IMS_PER_BATCH, num_instance=1, seed=cfg.SEED + 1
    )
    logger.info("%d images of %s are distractors", len(paths), ", ".join(names))
    return _endless_loader(cfg, dataset, sampler)


def _endless_loader(cfg: CfgNode, dataset: TrainImages, sampler: GlobalBatchSampler) -> ImageLoader:
    """A loader of this process's part of the sampler's batches."""
    size = output_size(cfg, is_train=True)
    return ImageLoader(
        dataset,
        batch_sampler=RankBatches(sampler, comm.get_rank(), comm.get_world_size()),
        collate_fn=functools.partial(collate, image_size=size, numbers=("targets", "camids")),
        **_worker_options(cfg),
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> tuple[ImageLoader, int]:
    """Query and then gallery images of one dataset, in order; each process gets its contiguous part.

    Returns:
        The loader and the number of query images. Batches as from ``build_train_loader``, with the identities and
        cameras of the dataset, and ``indices`` (B,) int64: position in query + gallery. With DATALOADER.BROKEN_IMAGES
        skip, images that cannot be decoded are missing from the batch and named in ``broken_paths``; B may then be 0.
        A process beyond the last image gets a loader of length 0.

    Raises:
        InputError: a config, dataset or image that cannot be used; images are checked when they are loaded.
    """
    items, num_query = load_test_items(cfg, dataset_name)
    return _test_loader(cfg, items, banner=0), num_query


def build_classification_test_loader(cfg: CfgNode, dataset_name: str) -> tuple[ImageLoader, list[str]]:
    """The test images of one data set for classification, in order; each process gets its contiguous part.

    Returns:
        The loader and the class names, by label. Batches as from ``build_test_loader``, with labels as ``targets``.

    Raises:
        InputError: as ``build_test_loader``.
    """
    classes = load_classes(cfg, dataset_name)
    return _test_loader(cfg, classes.test, classes.banner), list(classes.class_names)


def build_path_loader(cfg: CfgNode, paths: Sequence[str]) -> ImageLoader:
    """Unlabelled image files in order; each process gets its contiguous part.

    Returns:
        A loader. Batches as from ``build_test_loader``; identities and cameras are -1.

    Raises:
        InputError: as ``build_test_loader``.
    """
    return _test_loader(cfg, [(path, -1, -1) for path in paths], banner=0)


def _test_loader(cfg: CfgNode, items: list[tuple[str, int, int]], banner: int) -> ImageLoader:
    dataset = EvaluationImages(items, build_transforms(cfg, is_train=False, banner=banner), _skip_broken(cfg))
    world_size = comm.get_world_size()
    batch_size = max(1, cfg.TEST.IMS_PER_BATCH // world_size)
    shard = -(-len(dataset) // world_size)
    mine = range(len(dataset))[comm.get_rank() * shard : (comm.get_rank() + 1) * shard]
    options = _worker_options(cfg)
    if len(mine) <= batch_size:  # starting a worker would take longer
        options["num_workers"] = 0
    return ImageLoader(
        dataset,
        batch_sampler=BatchSampler(mine, batch_size, drop_last=False),
        collate_fn=functools.partial(
            collate, image_size=output_size(cfg, is_train=False), numbers=("targets", "camids", "indices")
        ),
        **options,
    )


def _skip_broken(cfg: CfgNode) -> bool:
    if cfg.DATALOADER.BROKEN_IMAGES not in ("stop", "skip"):
        raise InputError(f"DATALOADER.BROKEN_IMAGES is {cfg.DATALOADER.BROKEN_IMAGES!r}; choose stop or skip")
    return cfg.DATALOADER.BROKEN_IMAGES == "skip"


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Ctrl-C, ``timeout`` and systemd also signal the workers, but the main process still needs them.

    The main process ends workers by SIGTERM, so they obey only a SIGTERM that it sent; where the sender cannot be
    identified (macOS), workers leave the signalled process group. If the main process is killed, PyTorch ends them
    within seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_main_process, daemon=True).start()
    elif hasattr(os, "setpgid"):  # Windows has no groups
        os.setpgid(0, 0)


def _end_with_the_main_process() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _worker_options(cfg: CfgNode) -> dict:
    """``DataLoader`` options, including NUM_WORKERS, which is capped to this process's share of the cores."""
    cores = available_cores()
    most = max(1, cores // comm.get_local_size())
    workers = min(cfg.DATALOADER.NUM_WORKERS, most)
    if workers < cfg.DATALOADER.NUM_WORKERS:
        logger.info("DATALOADER.NUM_WORKERS %d is capped to %d: %d cores", cfg.DATALOADER.NUM_WORKERS, workers, cores)
    return {
        "num_workers": workers,
        "worker_init_fn": _leave_signals_to_the_main_process,
        # Without a generator of its own, a DataLoader draws from torch's global one. Our batches depend on neither.
        "generator": torch.Generator(),
        "pin_memory": torch.cuda.is_available() and cfg.MODEL.DEVICE != "cpu",
    }
