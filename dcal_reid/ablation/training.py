"""Train the runs of an ablation, each in a process of its own."""

import datetime
import itertools
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ..data import load_dataset
from .runs import Run, ordered

__all__ = ["train_unfinished"]

# Seconds that a run gets to save itself.
_PATIENCE = 120.0


def train_unfinished(runs: Sequence[Run], jobs: int) -> list[Run]:
    """Train the runs that are not complete, ``jobs`` at a time, and print a line about each. Returns those that failed.

    Raises:
        InputError: a data set is missing or invalid.
    """
    left = [run for run in runs if run.results() is None]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are complete", flush=True)
    _check_data(left)
    waiting, running, failed, start = iter(left), {}, [], time.monotonic()
    with _ended_with_this_process(running):
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
    return failed


@contextmanager
def _ended_with_this_process(running: Iterable[subprocess.Popen]) -> Iterator[None]:
    """Whatever ends this process early, SIGTERM or Ctrl-C, ends its runs: first with a signal, on which they save
    themselves, and after a second signal, or too much time, with a kill."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        try:
            for process in running:
                process.terminate()
            with suppress(subprocess.TimeoutExpired):
                for process in running:
                    process.wait(_PATIENCE)
        finally:
            for process in running:
                process.kill()
                process.wait()
            signal.signal(signal.SIGTERM, before)


def _check_data(runs: Sequence[Run]) -> None:
    """Report a problem with a data set once, instead of in every run."""
    seen = []
    for cfg in (run.cfg for run in runs):
        if cfg.DATASETS not in seen:
            seen.append(cfg.DATASETS)
            for name in dict.fromkeys((*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS)):
                load_dataset(name, cfg)


def _start(run: Run) -> subprocess.Popen:
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.log, "ab") as log:
        # In a process group of its own: otherwise Ctrl-C would reach it too, and the signal of _ended_with_this_process
        # would be its second.
        return subprocess.Popen(run.command, stdout=log, stderr=subprocess.STDOUT, process_group=0)


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
