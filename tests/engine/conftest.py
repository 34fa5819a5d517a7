import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """A CSV of 64x32 images: 6 identities to train on and 4 to find, seen by 2 cameras, twice each."""
    rng = np.random.default_rng(0)
    root = tmp_path / "crops"
    root.mkdir()
    rows = []
    for identity in range(10):
        colour = rng.integers(0, 256, 3)
        for camera in range(2):
            for shot in range(2):
                image = np.clip(colour + 40 * camera + rng.normal(0, 30, (64, 32, 3)), 0, 255).astype(np.uint8)
                name = f"{identity}_{camera}_{shot}.png"
                Image.fromarray(image).save(root / name)
                split = "train" if identity < 6 else ("query" if shot == 0 and camera == 0 else "gallery")
                rows.append((name, identity, camera, split))
    with open(root / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "identity", "camera", "split"), *rows])
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    return root


@pytest.fixture
def run_cfg(tiny_cfg, crops, tmp_path):
    """Three epochs of three steps on the crops."""
    cfg = tiny_cfg
    cfg.MODEL.HEADS.NUM_CLASSES = 0
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.2
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("CSVReID",)
    cfg.DATASETS.CSV.PATH = "labels.csv"
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True
    cfg.DATALOADER.NUM_INSTANCE, cfg.DATALOADER.NUM_WORKERS = 2, 0
    cfg.SOLVER.OPT, cfg.SOLVER.SCHED, cfg.SOLVER.BASE_LR = "SGD", "CosineAnnealingLR", 0.01
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 3, 8, 2
    cfg.SOLVER.LOG_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD = 2, 2
    cfg.TEST.EVAL_PERIOD, cfg.TEST.IMS_PER_BATCH = 1, 5
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    return cfg


@pytest.fixture
def class_cfg(run_cfg, tmp_path, monkeypatch):
    """Two epochs of four steps on four classes of colours."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for folder, images in (("train", 8), ("val", 3)):
        for name, colour in (("blue", 2), ("green", 1), ("grey", slice(None)), ("red", 0)):
            (root / folder / name).mkdir(parents=True)
            for number in range(images):
                image = rng.integers(0, 100, (40, 40, 3), dtype=np.uint8)
                image[..., colour] += 100
                Image.fromarray(image).save(root / folder / name / f"{number}.png")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = run_cfg
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("ImageFolderFGVC",)
    cfg.DATASETS.CLASS_FOLDER.PATH = "images"
    cfg.MODEL.HEADS.NAME, cfg.MODEL.HEADS.WITH_BNNECK = "DCALClassificationHead", False
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [40, 40]
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.METHOD, cfg.INPUT.CROP.SIZE = True, "fixed", [32, 32]
    cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = False
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.LR_FOR_BATCH = "AdamW", 0.01, 16
    cfg.SOLVER.MAX_EPOCH = 2
    Path(cfg.OUTPUT_DIR).mkdir()
    return cfg
