import csv
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from hypothesis import settings
from PIL import Image

import dcal_reid
from dcal_reid.engine import Checkpointer
from dcal_reid.engine.setup import save_config

# With several test processes (pytest -n) each has one core; threads that wait for each other would slow down all.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
torch.set_num_threads(min(THREADS, torch.get_num_threads()))
REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# The time of an example says more about the machine and its load than about the code under test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def loggers_as_before():
    """Loggers that a run has set up write to its own folder, and to the output stream of its test."""
    loggers = [logging.getLogger(name) for name in ("dcal_reid", "fastreid")]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def faiss_on_one_thread():
    """faiss' threads wait for each other in a busy loop, which takes seconds on a shared machine."""
    import faiss  # at the top it would be imported before PyTorch: see compat.py

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture
def half_precision(monkeypatch):
    """Half precision on any processor; it is not slow for tiny models."""
    for user in ("engine.inference", "benchmark.models"):
        monkeypatch.setattr(f"dcal_reid.{user}.has_half_precision", lambda device, dtype: True)


@pytest.fixture
def tiny_cfg():
    """A DCAL configuration of a three-block ViT on 64x32 images with 4x2 patches, and nothing random in its layers."""
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "DCAL"
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_tiny_patch16_224"
    cfg.MODEL.BACKBONE.TIMM_KWARGS = dcal_reid.config.CfgNode(
        {"depth": 3, "embed_dim": 48, "num_heads": 3}, new_allowed=True
    )
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    cfg.MODEL.HEADS.NAME = "DCALHead"
    cfg.MODEL.HEADS.POOL_LAYER = "Identity"
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.MODEL.LOSSES.TRI.HARD_MINING = True
    cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 3
    cfg.INPUT.SIZE_TRAIN = [64, 32]
    cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    return cfg


@pytest.fixture
def tiny_model(tiny_cfg):
    torch.manual_seed(0)
    return build_model(tiny_cfg)


@pytest.fixture
def tiny_batch():
    """Eight images of four identities."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 3, 64, 32), dtype=torch.uint8, generator=generator)
    return {"images": images, "targets": torch.arange(4).repeat_interleave(2)}


@pytest.fixture
def vit_tiny_weights():
    """Real ViT-Tiny weights, ImageNet-1k, 224 pixels."""
    path = SHARED_DATA / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"
    if not path.is_file():
        pytest.skip(f"real weights are not at {path}")
    return path


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
def fastreid_cfg(tiny_cfg):
    """fast-reid's baseline on the tiny ViT; ``run_cfg`` and ``tiny_model`` are then based on it, too."""
    tiny_cfg.MODEL.META_ARCHITECTURE = "FastReIDBaseline"
    tiny_cfg.MODEL.BACKBONE.NAME = "build_fastreid_vit"
    tiny_cfg.MODEL.BACKBONE.FEAT_DIM = 48
    tiny_cfg.MODEL.HEADS.NAME = "EmbeddingHead"
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    return tiny_cfg


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


@pytest.fixture
def run_folder(run_cfg):
    """A run's folder with model_final.pth and config.yaml, of a model that was not trained (D = 96)."""
    return _saved_run(run_cfg, num_classes=6)


@pytest.fixture
def class_run_folder(class_cfg):
    """As ``run_folder``, for classification: blue, green, grey, red."""
    return _saved_run(class_cfg, num_classes=4, class_names=["blue", "green", "grey", "red"])


def _saved_run(cfg, num_classes: int, **extra) -> Path:
    torch.manual_seed(0)
    built = cfg.clone()
    built.MODEL.HEADS.NUM_CLASSES = num_classes
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    Checkpointer(build_model(built), cfg.OUTPUT_DIR).save("model_final", **extra)
    save_config(cfg)
    return Path(cfg.OUTPUT_DIR)
