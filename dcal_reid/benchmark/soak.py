"""Whether a process that trains and evaluates for hours keeps growing."""

import gc
import os
import tempfile
import threading
import time
from pathlib import Path

from tabulate import tabulate

from ..data.demo import write_demo_dataset
from ..engine.check import check_config
from ..engine.job import train
from ..engine.setup import load_config, resolve_device
from ..errors import InputError
from .measure import describe_environment, process_memory

__all__ = ["benchmark_soak"]

_CONFIG = Path(__file__).parents[2] / "configs" / "demo" / "dcal.yml"
# Memory may grow by this share; nothing else may grow after the first cycles.
_TOLERANCE = 0.05
_WARM_UP = 3
_MEMORY = "memory (MiB)"


def benchmark_soak(minutes: float) -> None:
    """Train the demo for one epoch and evaluate it, again and again in one process, and compare the end with the
    beginning: memory, open files, threads, child processes. Linux only.

    Args:
        minutes: how long, but at least five cycles.

    Raises:
        InputError: not on Linux.
        SystemExit: with status 1 if something has grown.
    """
    if not Path("/proc/self/fd").is_dir():
        raise InputError("the soak reads /proc; it runs on Linux only")
    cycles = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTREID_DATASETS"] = folder
        write_demo_dataset(folder)
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end or len(cycles) < _WARM_UP + 2:
            _cycle(folder, len(cycles))
            cycles.append(_state())
    before, after = cycles[_WARM_UP - 1], cycles[-1]
    rows = [
        [name, before[name], after[name], min(c[name] for c in cycles), max(c[name] for c in cycles)] for name in before
    ]
    print(f"{len(cycles)} cycles of training and evaluation in {minutes:g} minutes\n")
    headers = ["", f"after cycle {_WARM_UP}", "at the end", "least", "most"]
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".1f"), describe_environment(), sep="\n\n")
    grown = [name for name in before if after[name] > before[name] * (1 + _TOLERANCE * (name == _MEMORY))]
    if grown:
        raise SystemExit(f"grown: {', '.join(grown)}")


def _cycle(folder: str, seed: int) -> None:
    overrides = ["SOLVER.MAX_EPOCH", "1", "SEED", str(seed), "OUTPUT_DIR", str(Path(folder, "run"))]
    cfg = load_config(str(_CONFIG), overrides)
    resolve_device(cfg)
    check_config(cfg)
    cfg.freeze()
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    train(cfg)


def _state() -> dict[str, float]:
    gc.collect()
    return {
        _MEMORY: process_memory("VmRSS") / 2**20,
        "open files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "Python threads": threading.active_count(),
        "child processes": len(Path("/proc/self/task", str(os.getpid()), "children").read_text().split()),
    }
