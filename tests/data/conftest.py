"""Small datasets written to disk. Every image has its own colours, so that it can be told apart from all others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcal_reid import get_cfg


def _write_image(path: Path, seed: int, size: tuple[int, int] = (16, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)


@pytest.fixture
def write_image():
    """A function (path, seed, (width, height)) that writes one image."""
    return _write_image


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder that FASTREID_DATASETS names."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


@pytest.fixture
def cfg():
    """Tiny images, no workers, and every augmentation that re-ID recipes use."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_INSTANCE = 2
    cfg.SOLVER.IMS_PER_BATCH = 8
    cfg.TEST.IMS_PER_BATCH = 4
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32, 16]
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = cfg.INPUT.CJ.ENABLED = True
    return cfg


@pytest.fixture
def market(root):
    """Market-1501's layout: 6 training identities x 3 cameras, 3 test identities, a distractor and a junk image."""
    home = root / "Market-1501-v15.09.15"
    for number, pid in enumerate((2, 7, 10, 11, 100, 1500)):
        for camera in (1, 2, 6):
            _write_image(home / "bounding_box_train" / f"{pid:04d}_c{camera}s1_000001_00.jpg", 10 * number + camera)
    for pid in (1, 3, 1501):
        _write_image(home / "query" / f"{pid:04d}_c1s1_000001_00.jpg", 1000 + pid)
        for camera in (1, 2):
            _write_image(home / "bounding_box_test" / f"{pid:04d}_c{camera}s1_000002_00.jpg", 5000 * camera + pid)
    _write_image(home / "bounding_box_test" / "0000_c3s1_000003_00.jpg", 1)
    _write_image(home / "bounding_box_test" / "-1_c3s1_000004_00.jpg", 2)
    return home
