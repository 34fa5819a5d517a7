"""Training batches from JPEG files: our loader against fast-reid's images and augmentations, on one core."""

import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.build import fast_batch_collator
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms as fastreid_transforms
from PIL import Image
from torch.utils.data import DataLoader

from ..config import get_cfg
from ..data import build_train_loader
from ..errors import InputError
from .measure import describe_environment, measure, print_table

__all__ = ["CROPS", "Crops", "benchmark_data", "loader_config", "write_images"]

_FLIP = ["INPUT.FLIP.ENABLED", True]
_ERASE = [*_FLIP, "INPUT.PADDING.ENABLED", True, "INPUT.REA.ENABLED", True]
# fast-reid can only crop parts of random size; this one is always 448 of 550 pixels, in any place.
_CROP = [
    *_FLIP,
    *("INPUT.CROP.ENABLED", True),
    *("INPUT.CROP.SIZE", [448, 448]),
    *("INPUT.CROP.SCALE", [(448 / 550) ** 2] * 2),
    *("INPUT.CROP.RATIO", [1.0, 1.0]),
]


@dataclass(frozen=True)
class Crops:
    """Image files of one kind, and what training makes of them."""

    file_size: tuple[int, int]  # height, width
    size: tuple[int, int]  # what they are resized to
    augmentation: Sequence  # config keys and values in turn


CROPS = {
    "persons": Crops((128, 64), (256, 128), _ERASE),  # Market-1501
    "vehicles": Crops((300, 300), (256, 256), _ERASE),  # VeRi-776
    "birds": Crops((375, 500), (550, 550), _CROP),  # CUB-200-2011
}


def benchmark_data(
    cases: Sequence[str] | None = None, batch: int = 32, repeats: int = 5, batches: int = 4
) -> dict[str, float]:
    """Print a table per kind of image: images per second on one core, without workers.

    Args:
        cases: names in :data:`CROPS`; by default all.
        batch: images in a batch.
        repeats: runs of each way; the median is printed.
        batches: in a run.

    Returns:
        for each kind, our images per second over fast-reid's.

    Raises:
        InputError: an unknown kind, or a batch that is not a multiple of 4 (each identity has four images in it).
    """
    for name in cases or ():
        if name not in CROPS:
            raise InputError(f"unknown case {name!r}; use one of {', '.join(CROPS)}")
    if batch < 4 or batch % 4:
        raise InputError(f"--batch {batch} is not a multiple of 4, the images of an identity in a batch; change it")
    print(describe_environment())
    return {name: _measure(name, CROPS[name], batch, repeats, batches) for name in cases or CROPS}


def loader_config(crops: Crops, folder: str | Path, batch: int) -> CfgNode:
    """The configuration for both loaders."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list(list(crops.augmentation))
    cfg.INPUT.SIZE_TRAIN = list(crops.size)
    cfg.DATASETS.NAMES = ("FolderReID",)
    cfg.DATASETS.FOLDER.PATH = str(folder)
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_INSTANCE, cfg.DATALOADER.NUM_WORKERS = 4, 0
    cfg.SOLVER.IMS_PER_BATCH = batch
    return cfg


def write_images(folder: str | Path, file_size: tuple[int, int], identities: int) -> None:
    """Four JPEG files of each identity below ``folder``/train: smooth shapes with some noise, as photographs have."""
    rng = np.random.default_rng(0)
    height, width = file_size
    for identity in range(identities):
        place = Path(folder, "train", f"{identity:04d}")
        place.mkdir(parents=True)
        for number in range(4):
            shapes = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            shapes = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
            image = (shapes + rng.normal(0, 6, shapes.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(place / f"{number}.jpg", quality=90)


def _measure(name: str, crops: Crops, batch: int, repeats: int, batches: int) -> float:
    with tempfile.TemporaryDirectory(prefix="crops-") as folder:
        write_images(folder, crops.file_size, identities=max(8, batch // 4))
        cfg = loader_config(crops, folder, batch)
        ways = {"ours": _taker(_ours(cfg), batches), "fast-reid": _taker(_fastreid(cfg), batches)}
        with _one_thread(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="TypedStorage")  # in fast-reid's ToTensor
            for way in ways.values():
                way()
            found = measure(ways, repeats)
    ours = found["ours"]
    print_table(
        f"Loader, {name}: JPEG {crops.file_size[0]}x{crops.file_size[1]} to "
        f"{' x '.join(map(str, ours.result))}, one core",
        ["way", "images/s", "ms per image", "ours / it"],
        [
            [n, batch * batches / w.seconds, 1e3 * w.seconds / batch / batches, w.seconds / ours.seconds]
            for n, w in found.items()
        ],
    )
    return found["fast-reid"].seconds / ours.seconds


def _ours(cfg: CfgNode) -> Iterator[dict]:
    return iter(build_train_loader(cfg))


def _fastreid(cfg: CfgNode) -> Iterator[dict]:
    """Endless batches of the same images, in an order of their own."""
    items = build_train_loader(cfg).dataset.img_items
    dataset = CommDataset(items, fastreid_transforms(cfg, is_train=True), relabel=True)
    loader = DataLoader(dataset, cfg.SOLVER.IMS_PER_BATCH, shuffle=True, drop_last=True, collate_fn=fast_batch_collator)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _taker(loader: Iterator[dict], batches: int) -> Callable[[], tuple[int, ...]]:
    """A function that takes ``batches`` batches and returns the shape of the last one's images."""

    def take() -> tuple[int, ...]:
        for _ in range(batches):
            shape = tuple(next(loader)["images"].shape)
        return shape

    return take


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
