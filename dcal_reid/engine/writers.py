"""The progress line, and metrics.json for runs that are resumed or restarted in the same folder."""

import datetime
import importlib.util
import json
import logging
import sys
from pathlib import Path

import torch
from fastreid.utils.events import EventWriter, get_event_storage

from ..files import written_atomically

__all__ = ["ProgressPrinter", "prepare_metrics_file"]

logger = logging.getLogger(__name__)


class ProgressPrinter(EventWriter):
    """One line: epoch, losses and accuracy per branch, loss weights, lr, images/s, memory, time left."""

    def __init__(self, max_iter: int, iters_per_epoch: int, images_per_iter: int) -> None:
        self.max_iter = max_iter
        self.iters_per_epoch = iters_per_epoch
        self.images_per_iter = images_per_iter

    def write(self) -> None:
        storage = get_event_storage()
        latest = {name: value for name, (value, _) in storage.latest().items()}
        if "total_loss" not in latest:
            return
        done = storage.iter + 1
        parts = [
            f"epoch {storage.epoch + 1}/{-(-self.max_iter // self.iters_per_epoch)}",
            f"iter {done}/{self.max_iter}",
            f"loss {latest['total_loss']:.3f}",
        ]
        for branch in ("sa", "glca", "pwca"):
            terms = [
                f"{label} {latest[f'{branch}/{name}']:.2f}"
                for label, name in (("ce", "ce"), ("tri", "triplet"), ("acc", "accuracy"), ("w", "loss_weight"))
                if f"{branch}/{name}" in latest
            ]
            if terms:
                parts.append(f"{branch} [{', '.join(terms)}]")
        parts.append(f"lr {latest['lr']:.2e}")
        if "time" in latest:
            parts.append(f"{self.images_per_iter / latest['time']:.1f} images/s")
            parts.append(f"data {100 * latest['data_time'] / latest['time']:.0f}%")
            left = storage.history("time").median(20) * (self.max_iter - done)
            parts.append(f"eta {datetime.timedelta(seconds=int(left))}")
        if memory := peak_memory():
            parts.append(f"mem {memory / 2**30:.1f} GiB")
        logger.info("  ".join(parts))


def peak_memory() -> int:
    """Peak bytes of tensors on the GPU, or without one of this process (0: not known)."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    if importlib.util.find_spec("resource") is None:  # Windows
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def prepare_metrics_file(path: Path, start_iter: int) -> None:
    """Keep in metrics.json only what belongs to the run that continues at ``start_iter``.

    If that is 0, because the run starts anew or counts its iterations differently, the previous run's file is kept as
    metrics.1.json, metrics.2.json, ... A resumed run drops the lines written after its checkpoint.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    if start_iter == 0:
        number = 1
        while (old := path.with_suffix(f".{number}.json")).exists():
            number += 1
        path.rename(old)
        logger.info("The metrics of the previous run are kept as %s", old)
        return
    kept = [line for line in path.read_text().splitlines() if _iteration(line) < start_iter]
    with written_atomically(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept))


def _iteration(line: str) -> float:
    """The iteration of a line; infinite for one that was cut off by a kill."""
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError):
        return float("inf")
