"""Inference: a model in onnxruntime against the same model in PyTorch."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..engine.arguments import add_model_arguments
from ..engine.inference import autocast, uses_half_precision
from ..engine.predictor import Predictor
from ..errors import InputError
from ..export.graph import FeatureGraph
from ..export.onnx_model import export_onnx, require_packages
from .measure import describe_environment, print_table
from .operations import time_calls

__all__ = ["add_arguments", "benchmark_export"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model's arguments, ``--batch``, ``--threads`` and ``--repeats``."""
    parser.add_argument(
        "--batch", dest="batches", type=int, action="append", help="batch size; repeatable; default: 1 and 32"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for each runtime; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="runs per implementation; the median is shown")
    add_model_arguments(parser)
    parser.set_defaults(benchmark=benchmark_export)


def benchmark_export(
    weights: str = "",
    config_file: str = "",
    device: str = "cpu",
    opts: Sequence[str] = (),
    batches: Sequence[int] | None = None,
    threads: int = 1,
    repeats: int = 5,
) -> dict[int, float]:
    """Write a model as ONNX to a temporary folder, and print a table of images per second, for decoded images.

    Both run in fp32; with SOLVER.AMP.ENABLED, PyTorch also runs in the precision that it then uses.

    Args:
        weights, config_file, device, opts: of the model, as on the command line.
        batches: images in a batch; default: 1 and 32.
        threads: on the CPU, for both.
        repeats: runs of each way; the median is printed.

    Returns:
        for each batch the images per second of ONNX over those of PyTorch.

    Raises:
        InputError: a number below 1, packages that are not installed, or onnxruntime without CUDA where the
            model is on a GPU.
    """
    batches = batches or [1, 32]
    if min(*batches, threads, repeats) < 1:
        raise InputError(f"--batch {min(batches)}, --threads {threads}, --repeats {repeats}; all must be at least 1")
    require_packages()
    import onnxruntime

    from ..export.onnx_predictor import OnnxPredictor

    predictor = Predictor(weights, config_file=config_file, overrides=opts, device=device)
    cuda = predictor.model.device.type == "cuda"
    if cuda and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InputError("this onnxruntime has no CUDA; install onnxruntime-gpu instead of it, or use --device cpu")
    print(f"{describe_environment()}, onnxruntime {onnxruntime.__version__}")
    with tempfile.TemporaryDirectory(prefix="onnx-") as folder:
        path = Path(folder, "model.onnx")
        export_onnx(predictor, path)
        provider = "CUDAExecutionProvider" if cuda else "CPUExecutionProvider"
        run_onnx = OnnxPredictor(path, [provider], threads=threads).run
        return {batch: _measure(predictor, run_onnx, batch, threads, repeats) for batch in batches}


def _measure(
    predictor: Predictor, run_onnx: Callable[[np.ndarray], np.ndarray], batch: int, threads: int, repeats: int
) -> float:
    shape = (batch, 3, *predictor.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    array, before = images.numpy(), torch.get_num_threads()
    ways = {"PyTorch": _in_pytorch(predictor, images, nullcontext), "ONNX": lambda: run_onnx(array)}
    if uses_half_precision(predictor.cfg):
        ways["PyTorch, SOLVER.AMP"] = _in_pytorch(predictor, images, partial(autocast, predictor.cfg))
    torch.set_num_threads(threads)
    try:
        for way in ways.values():
            way()
        found = time_calls(ways, repeats, predictor.model.device.type)
    finally:
        torch.set_num_threads(before)
    rates = {name: batch / way.seconds for name, way in found.items()}
    print_table(
        f"Inference, {shape[2]}x{shape[3]}, batch {batch}, {threads} threads",
        ["way", "images/s", "ms per image", "it / PyTorch"],
        [[name, rate, 1e3 / rate, rate / rates["PyTorch"]] for name, rate in rates.items()],
    )
    return rates["ONNX"] / rates["PyTorch"]


def _in_pytorch(
    predictor: Predictor, images: Tensor, precision: Callable[[], AbstractContextManager]
) -> Callable[[], Tensor]:
    graph = FeatureGraph(predictor).eval()

    def call() -> Tensor:
        with torch.no_grad(), precision():
            return graph(images).cpu()

    return call
