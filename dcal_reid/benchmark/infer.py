"""Inference: ours against self-attention alone by timm, against naive DCAL and against fast-reid."""

from collections.abc import Callable, Sequence

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..engine.inference import autocast
from .measure import describe_environment, megabytes, print_table
from .models import Case, build_models, case_config, select_cases, synthetic_images
from .operations import count_operations, peak_cuda_memory, time_calls

__all__ = ["benchmark_infer"]


def benchmark_infer(
    cases: Sequence[str] | None = None,
    batch: int | None = None,
    repeats: int = 5,
    device: str = "cpu",
    amp: str = "none",
    readout: str = "mean",
) -> dict[str, dict[str, float]]:
    """Print a table per case: time, peak memory and operations of the features of a batch, and the ratio of ours to
    each other way.

    Args:
        cases, batch, repeats, device, amp, readout: see :func:`~dcal_reid.benchmark.step.benchmark_step`.

    Returns:
        for each case the ratios of ours to timm and to naive DCAL.
    """
    chosen = select_cases(cases)
    configs = [case_config(case, device, amp, readout) for case in chosen]
    print(describe_environment())
    print(f"{device}, autocast {amp}")
    return {case.name: _measure(case, cfg, batch, repeats) for case, cfg in zip(chosen, configs, strict=True)}


def _measure(case: Case, cfg: CfgNode, batch_size: int | None, repeats: int) -> dict[str, float]:
    device = cfg.MODEL.DEVICE
    images = synthetic_images(case, batch_size, device)
    calls = {name: _features(cfg, model, images) for name, model in build_models(cfg).items()}
    operations = {name: count_operations(call) for name, call in calls.items()}
    found = time_calls(calls, repeats, device)
    seconds = {name: way.seconds for name, way in found.items()}
    if device == "cpu":
        memory = {name: way.memory for name, way in found.items()}
    else:
        memory = {name: peak_cuda_memory(call) for name, call in calls.items()}

    def ratio(values: dict[str, float], other: str) -> float:
        return values["ours"] / values[other]

    print_table(
        f"Inference, {case.name}, batch {len(images)}, read-out {cfg.MODEL.DCAL.GLCA.READOUT}",
        ["way", "images/s", "ms", "ours / it", "peak memory (MB)", "GFLOP per image", "ours / it"],
        [
            [
                *(name, len(images) / seconds[name], 1e3 * seconds[name], ratio(seconds, name)),
                megabytes(memory[name]),
                *(operations[name] / len(images) / 1e9, ratio(operations, name)),
            ]
            for name in calls
        ],
    )
    timm, naive = "timm, SA alone", "naive DCAL"
    return {
        "time: ours / timm": ratio(seconds, timm),
        "operations: ours / timm": ratio(operations, timm),
        "time: ours / naive": ratio(seconds, naive),
    }


def _features(cfg: CfgNode, model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    model.eval()

    def call() -> Tensor:
        with torch.no_grad(), autocast(cfg):
            return model(images)

    return call
