"""Time and peak memory of several ways to do one thing."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import faiss
import numpy as np
import scipy
import torch
from tabulate import tabulate

from ..config import get_cfg
from ..engine.setup import resolve_device
from ..errors import InputError

__all__ = ["Measurement", "describe_environment", "measure", "megabytes", "print_table", "process_memory", "use_device"]


@dataclass(frozen=True)
class Measurement:
    """``seconds`` is the median of all runs; ``memory`` the peak of any run above the inputs, in bytes, None if it is
    not known; ``result`` what the last run returned."""

    seconds: float
    memory: int | None
    result: object


def measure(ways: dict[str, Callable[[], object]], repeats: int = 3) -> dict[str, Measurement]:
    """Run each of the ways ``repeats`` times, in turns, so that a busy moment of the machine affects all of them.

    Memory is the peak of the process (Linux only), less what it had before the run.

    Raises:
        InputError: ``repeats`` is below 1.
    """
    if repeats < 1:
        raise InputError(f"--repeats is {repeats}; give at least 1")
    seconds, memory, results = {name: [] for name in ways}, {name: [] for name in ways}, {}
    for _ in range(repeats):
        for name, way in ways.items():
            results.pop(name, None)
            before = _reset_peak()
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
            if before is not None:
                memory[name].append(process_memory("VmHWM") - before)
    return {
        name: Measurement(statistics.median(seconds[name]), max(memory[name], default=None), results[name])
        for name in ways
    }


def use_device(name: str) -> str:
    """``--device`` auto, cpu, cuda or cuda:1, resolved. A GPU becomes the one whose time and memory are measured.

    Raises:
        InputError: see ``resolve_device``.
    """
    cfg = get_cfg()
    cfg.MODEL.DEVICE = name
    resolve_device(cfg)
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
    return cfg.MODEL.DEVICE


def process_memory(kind: str) -> int:
    """Bytes that this process has (VmRSS), or had at the peak (VmHWM). Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def megabytes(size: int | None) -> int | None:
    """Bytes in megabytes, for a table; None if not known."""
    return None if size is None else round(size / 1e6)


def print_table(title: str, headers: list[str], rows: list[list]) -> None:
    print(f"\n{title}\n")
    print(tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".2f", missingval="-"))


def describe_environment() -> str:
    """What the figures depend on, in one line."""
    cpu = platform.processor() or "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{date.today()}, {cpu}, {torch.get_num_threads()} threads{device}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, PyTorch {torch.__version__}, faiss {faiss.__version__}"
    )


def _reset_peak() -> int | None:
    """Release free memory, reset the peak, and return what the process has now; None if this is not possible."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return process_memory("VmRSS")
    except (OSError, AttributeError, TypeError):  # TypeError: Windows, where a library needs a name
        return None
