"""Train the runs of an ablation, each in a process of its own."""

import datetime
import itertools
import subprocess
import time
from collections.abc import Iterable, Sequence

from ..data import load_dataset
from .runs import Run, ordered

__all__ = ["train_unfinished"]


def train_unfinished(runs: Sequence[Run], jobs: int) -> list[Run]:
    """Train the runs that are not complete, ``jobs`` at a time, with a line about each. Returns those that failed.

    Raises:
        InputError: a data set is missing or not as it should be.
    """
    left = [run for run in runs if run.results() is None]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are complete", flush=True)
    _check_data(left)
    waiting, running, failed, start = iter(left), {}, [], time.monotonic()
    try:
        for number in range(1, len(left) + 1):
            for run in itertools.islice(waiting, jobs - len(running)):
                running[_start(run)] = run, time.monotonic()
            process = _first_to_end(running)
            run, before = running.pop(process)
            problem, now = _problem(run, process.returncode), time.monotonic()
            if problem:
                failed.append(run)
            outcome = problem or "  ".join(f"{name} {value:.1f}" for name, value in ordered(run.results()))
            rest = (now - start) / number * (len(left) - number)
            print(
                f"[{number}/{len(left)}] {run.variant}, {run.repetition}: {outcome}  in {_clock(now - before)}; "
                f"{len(left) - number} left, about {_clock(rest)}",
                flush=True,
            )
    finally:
        for process in running:
            process.kill()
            process.wait()
    return failed


def _check_data(runs: Sequence[Run]) -> None:
    """What is wrong with a data set is told once, and not by every run."""
    seen = []
    for cfg in (run.cfg for run in runs):
        if cfg.DATASETS not in seen:
            seen.append(cfg.DATASETS)
            for name in dict.fromkeys((*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS)):
                load_dataset(name, cfg)


def _start(run: Run) -> subprocess.Popen:
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.log, "ab") as log:
        return subprocess.Popen(run.command, stdout=log, stderr=subprocess.STDOUT)


def _first_to_end(processes: Iterable[subprocess.Popen]) -> subprocess.Popen:
    while True:
        for process in processes:
            if process.poll() is not None:
                return process
        time.sleep(0.05)


def _problem(run: Run, status: int) -> str:
    """What went wrong with a run that has ended, or nothing."""
    if status:
        last = run.log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"FAILED with status {status}, see {run.log}: {last}"
    return "" if run.results() else f"FAILED, no metrics of the last epoch; remove {run.folder} to train it again"


def _clock(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(seconds))
