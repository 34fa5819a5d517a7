"""How long the whole training of a configuration takes: its own step, timed on random images, times its schedule."""

from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import build_model

from ..compat import registered_names
from ..engine.captured import check_capturable
from ..engine.check import check_config
from ..engine.setup import load_config
from ..errors import InputError
from ..modeling.backbones import input_size
from ..published import published
from .measure import describe_environment, print_table, use_device
from .models import Case, set_precision, synthetic_batch
from .operations import count_operations, time_calls
from .step import TrainStep

__all__ = ["benchmark_schedule", "images_to_train"]

# For the classifiers, a small part of a step. The true number would need the data set.
_CLASSES = 1000


def benchmark_schedule(
    configs: Sequence[str],
    images: int | None = None,
    batch: int | None = None,
    repeats: int = 3,
    device: str = "auto",
    amp: str | None = None,
    cuda_graph: bool = False,
) -> dict[str, float]:
    """Print a table: operations, images per second and hours of each configuration, beside the paper's figures.

    Loading images and evaluation are not included.

    Args:
        configs: files of configurations.
        images: training images; by default the official number of the data set.
        batch: images in a step; by default SOLVER.IMS_PER_BATCH. The schedule stays the configuration's.
        repeats: steps; the median counts.
        device: cpu | cuda | auto.
        amp: none | bf16; by default as the configuration says.
        cuda_graph: with SOLVER.CUDA_GRAPH.

    Returns:
        hours by configuration.

    Raises:
        InputError: a configuration that cannot be used, or a data set whose number of images is not known.
    """
    loaded = {path: _prepared(path, device, amp, cuda_graph) for path in configs}
    totals = {path: images_to_train(cfg, images) for path, cfg in loaded.items()}
    print(describe_environment())
    rows, hours = [], {}
    for path, cfg in loaded.items():
        operations, rate = _measure(path, cfg, batch, repeats)
        hours[path] = totals[path] / rate / 3600
        figures = " / ".join(f"{value:.1f}" for value in published(path).values())
        rows.append([path, figures, totals[path], operations * totals[path] / 1e15, rate, hours[path]])
    print_table(
        f"Whole trainings on one {next(iter(loaded.values())).MODEL.DEVICE}, without loading and evaluation",
        ["config", "paper", "images, all epochs", "operations (10^15)", "images/s", "hours"],
        rows,
    )
    return hours


def images_to_train(cfg: CfgNode, images: int | None = None) -> int:
    """Images that go through the model in all epochs. An epoch has whole batches only.

    Args:
        cfg: the configuration.
        images: of the training set; by default the official number of DATASETS.NAMES.

    Raises:
        InputError: the number is neither known nor given, or is less than a batch.
    """
    if images is None:
        official = [_official_images(name) for name in cfg.DATASETS.NAMES]
        if not official or None in official:
            raise InputError(
                f"the number of training images of {tuple(cfg.DATASETS.NAMES)} is not known; give it as --images"
            )
        images = sum(official)
    batch = cfg.SOLVER.IMS_PER_BATCH
    if images < batch:
        raise InputError(f"{images} training images are less than a batch of {batch} (SOLVER.IMS_PER_BATCH)")
    return cfg.SOLVER.MAX_EPOCH * (images // batch) * batch


def _official_images(name: str) -> int | None:
    if name not in registered_names(DATASET_REGISTRY):
        return None
    return getattr(DATASET_REGISTRY.get(name), "official", {}).get("train")


def _prepared(path: str, device: str, amp: str | None, cuda_graph: bool) -> CfgNode:
    cfg = load_config(path)
    cfg.SOLVER.CUDA_GRAPH = cuda_graph
    cfg.MODEL.DEVICE = use_device(device)
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.HEADS.NUM_CLASSES = False, _CLASSES
    if cuda_graph and cfg.MODEL.DEVICE == "cpu":
        raise InputError("--cuda-graph is for a GPU, but the device is cpu; give --device cuda")
    if amp is not None:
        set_precision(cfg, amp)
    check_config(cfg)
    check_capturable(cfg)
    cfg.freeze()
    return cfg


def _measure(path: str, cfg: CfgNode, batch: int | None, repeats: int) -> tuple[float, float]:
    """Operations per image, and images per second."""
    torch.manual_seed(0)
    size = cfg.SOLVER.IMS_PER_BATCH
    case = Case(path, cfg.MODEL.BACKBONE.TIMM_MODEL, input_size(cfg), _CLASSES, size, size)
    images = synthetic_batch(case, batch, cfg.MODEL.DEVICE)
    if cfg.MODEL.DCAL.PWCA.DISTRACTORS == "external":
        images["distractors"] = images["images"].flip(0)
    model, count = build_model(cfg), len(images["images"])
    step = TrainStep(cfg, model, images)
    operations = count_operations(step) / count
    if cfg.MODEL.COMPILE:
        model.compile()
    if cfg.SOLVER.CUDA_GRAPH:
        step = TrainStep(cfg, model, images, captured=True)
    step()  # compiles, or records
    return operations, count / time_calls({path: step}, repeats, cfg.MODEL.DEVICE)[path].seconds
