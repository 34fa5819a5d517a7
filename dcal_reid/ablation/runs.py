"""Ablations: the variants of a group of configs, each trained over seeds."""

import argparse
import datetime
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..data.datasets.listing import natural_key
from ..engine.check import check_config
from ..engine.setup import load_config
from ..errors import InputError

__all__ = ["Run", "group_runs", "ordered", "seeds_and_overrides", "train_unfinished", "variants"]

_REPOSITORY = Path(__file__).parents[2]
_GROUPS = _REPOSITORY / "configs" / "ablation"
_TRAIN = _REPOSITORY / "tools" / "train_net.py"
# Of each test set.
_METRICS = ("mAP", "Rank-1", "Top-1")
# With other values of these a run is still the same one.
_MAY_DIFFER = {"OUTPUT_DIR", "DATALOADER.NUM_WORKERS"}


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: str
    seed: int
    cfg: CfgNode
    command: list[str]

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def log(self) -> Path:
        """All that the run prints."""
        return self.folder / "console.txt"

    def results(self) -> dict[str, float] | None:
        """The metrics in percent after the last epoch; None if the run has not come to its end."""
        evaluated = [line for line in self._lines() if any(map(_is_metric, line))]
        if not evaluated or not (self.folder / "model_final.pth").is_file():
            return None
        epochs, period = self.cfg.SOLVER.MAX_EPOCH, self.cfg.TEST.EVAL_PERIOD
        # The first evaluation tells how many iterations an epoch has, and so whether the last one is that of the end.
        first, last = (evaluated[number]["iteration"] + 1 for number in (0, -1))
        if last * min(period or epochs, epochs) != first * epochs:
            return None
        return {name: value for name, value in evaluated[-1].items() if _is_metric(name)}

    def step_time(self) -> float | None:
        """Seconds of a training step, the median; None if the run was too short to tell."""
        times = [line["time"] for line in self._lines() if "time" in line]
        return statistics.median(times) if times else None

    def peak_memory(self) -> float | None:
        """GiB on the GPU, or without one of the process, as the progress lines say; None if there is no such line."""
        log = self.folder / "log.txt"
        found = re.findall(r"  mem ([\d.]+) GiB", log.read_text()) if log.is_file() else []
        return max(map(float, found), default=None)

    def _lines(self) -> Iterator[dict[str, float]]:
        """Those of metrics.json, without one that was cut off by a kill."""
        path = self.folder / "metrics.json"
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def seeds_and_overrides(words: Sequence[str]) -> tuple[list[int], list[str]]:
    """What stands behind ``--seeds``: numbers, each of which counts once, and then perhaps KEY VALUE overrides.

    Raises:
        InputError: there is no number.
    """
    count = next((number for number, word in enumerate(words) if not word.isdecimal()), len(words))
    if not count:
        raise InputError(f"--seeds {words[0]!r} is not a whole number; give one or more, for instance 0 1 2")
    return list(dict.fromkeys(map(int, words[:count]))), list(words[count:])


def variants(group: str) -> list[Path]:
    """The configs of a group, in natural order: t2 before t12.

    Raises:
        InputError: there is no such group.
    """
    groups = sorted(path.name for path in _GROUPS.iterdir() if path.is_dir())
    if group not in groups:
        raise InputError(f"there is no group {group!r}; choose one of {', '.join(groups)}")
    return sorted((_GROUPS / group).glob("*.yml"), key=lambda path: natural_key(path.stem))


def group_runs(args: argparse.Namespace) -> list[Run]:
    """Every variant with the first seed, then every variant with the next; all of them checked, none of them run.

    Groups overlap (every one has its baseline): a run that is complete in another group below the same --output is
    taken from there.

    Args:
        args: see ``run_group``.

    Raises:
        InputError: see ``run_group``.
    """
    for key, option in (("SEED", "--seeds"), ("OUTPUT_DIR", "--output")):
        if key in args.opts[::2]:
            raise InputError(f"{key} is among the overrides; use {option}")
    files = variants(args.group)
    if args.config_file:
        load_config(args.config_file)
        files = _on_another_base(files, Path(args.config_file), Path(args.output, args.group, "configs"))
    elsewhere = _complete_runs(args)
    return [_checked_run(file, seed, args, elsewhere) for seed in args.seeds for file in files]


def _on_another_base(files: Sequence[Path], base: Path, folder: Path) -> list[Path]:
    """Write the variants again, based on ``base``. One that is based on another of the group stays so."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        own = yaml.safe_load(file.read_text())
        if file.parent / own["_BASE_"] not in files:
            own["_BASE_"] = str(base.resolve())
        (folder / file.name).write_text(yaml.safe_dump(own, sort_keys=False))
    return [folder / file.name for file in files]


def _complete_runs(args: argparse.Namespace) -> dict[Path, dict[str, object]]:
    """Those of other groups below --output: what each was configured with, by its folder."""
    found = {}
    for path in sorted(Path(args.output).glob("*/*/seed*/config.yaml")):
        with suppress(InputError):  # of a version with other keys
            run = Run(path.parents[1].name, 0, _load(path), [])
            if path.parents[2].name != args.group and run.results():
                found[run.folder] = _identity(run.cfg)
    return found


def _load(path: Path) -> CfgNode:
    """A run's own configuration; its folder may have been moved since."""
    return load_config(str(path), ["OUTPUT_DIR", str(path.parent)])


def _checked_run(file: Path, seed: int, args: argparse.Namespace, elsewhere: dict[Path, dict[str, object]]) -> Run:
    folder = Path(args.output, args.group, file.stem, f"seed{seed}")
    overrides = [*args.opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
    cfg = load_config(str(file), overrides)
    check_config(cfg)
    if (folder / "last_checkpoint").is_file():
        _check_same(folder, cfg)
    else:
        same = (other for other, identity in elsewhere.items() if identity == _identity(cfg))
        cfg.OUTPUT_DIR = str(next(same, folder))
    cfg.freeze()
    options = ["--config-file", str(file), "--resume", "--num-gpus", str(args.num_gpus)]
    return Run(file.stem, seed, cfg, [sys.executable, str(_TRAIN), *options, *overrides])


def _check_same(folder: Path, cfg: CfgNode) -> None:
    """A run must not go on, nor count as complete, with another configuration than it was started with."""
    before, now = _identity(_load(folder / "config.yaml")), _identity(cfg)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise InputError(
                f"the run in {folder} has {key} {before.get(key)!r}, not {now.get(key)!r}; use another --output or "
                "remove that folder"
            )


def _identity(cfg: CfgNode) -> dict[str, object]:
    """What two runs that are the same have in common."""
    return {key: value for key, value in _flat(cfg) if key not in _MAY_DIFFER}


def _flat(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def train_unfinished(runs: Sequence[Run]) -> list[Run]:
    """Train the runs that are not complete, one after the other, with a line about each. Returns those that failed."""
    left = [run for run in runs if run.results() is None]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are complete")
    failed, start = [], time.monotonic()
    for number, run in enumerate(left, 1):
        print(f"[{number}/{len(left)}] {run.variant}, seed {run.seed}: ", end="", flush=True)
        before = time.monotonic()
        problem = _train(run)
        now = time.monotonic()
        if problem:
            failed.append(run)
        outcome = problem or "  ".join(f"{name} {value:.1f}" for name, value in ordered(run.results()))
        rest = (now - start) / number * (len(left) - number)
        print(f"{outcome}  in {_clock(now - before)}; {len(left) - number} left, about {_clock(rest)}", flush=True)
    return failed


def _train(run: Run) -> str:
    """Run it to its end. Returns what went wrong, or nothing."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.log, "ab") as log:
        status = subprocess.call(run.command, stdout=log, stderr=subprocess.STDOUT)
    if status:
        last = run.log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"FAILED with status {status}, see {run.log}: {last}"
    return "" if run.results() else f"FAILED, no metrics of the last epoch; remove {run.folder} to train it again"


def _clock(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(seconds))


def _is_metric(name: str) -> bool:
    return name.rpartition("/")[2] in _METRICS


def ordered(metrics: dict[str, float]) -> list[tuple[str, float]]:
    """Metrics by test set, and then as in ``_METRICS``."""

    def position(item: tuple[str, float]) -> tuple[str, int]:
        dataset, _, metric = item[0].rpartition("/")
        return dataset, _METRICS.index(metric)

    return sorted(metrics.items(), key=position)
