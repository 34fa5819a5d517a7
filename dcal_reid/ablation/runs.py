"""Ablations: the variants of a group of configs, each trained over seeds."""

import argparse
import itertools
import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..config import value_of
from ..engine.arguments import values_and_rest
from ..engine.check import check_config
from ..engine.setup import config_keys, holds_run, load_config
from ..errors import InputError
from ..published import published
from ..text import natural_key

__all__ = ["Run", "group_runs", "ordered", "variants", "with_overrides_apart"]

_REPOSITORY = Path(__file__).parents[2]
_GROUPS = [_REPOSITORY / "configs" / name for name in ("ablation", "results")]
_TRAIN = _REPOSITORY / "tools" / "train_net.py"
# The metrics of each test set.
_METRICS = ("mAP", "Rank-1", "Top-1")
# Keys that may change without making it another run.
_MAY_DIFFER = {"OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "MODEL.DEVICE"}

_Setting = list[tuple[str, str]]  # keys and their values


@dataclass(frozen=True)
class Run:
    """One variant with one seed, and on one fold if there are folds."""

    variant: str  # the config's name, followed by what --vary set
    repetition: str  # the seed, followed by what --folds set
    cfg: CfgNode
    command: list[str]
    published: dict[str, float]  # the paper's metrics of this variant, in percent

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def log(self) -> Path:
        """The file with everything that the run prints."""
        return self.folder / "console.txt"

    def results(self) -> dict[str, float] | None:
        """The metrics in percent after the last epoch; None if the run has not finished."""
        evaluated = [line for line in self._lines() if any(map(_is_metric, line))]
        if not evaluated or not (self.folder / "model_final.pth").is_file():
            return None
        epochs, period = self.cfg.SOLVER.MAX_EPOCH, self.cfg.TEST.EVAL_PERIOD
        # The first evaluation shows how many iterations an epoch has, and so whether the last one is at the end.
        first, last = (evaluated[number]["iteration"] + 1 for number in (0, -1))
        if last * min(period or epochs, epochs) != first * epochs:
            return None
        return {name: value for name, value in evaluated[-1].items() if _is_metric(name)}

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Every evaluation of a complete run: the share of the training that was done, and the metric in percent."""
        found = [(line["iteration"] + 1, line[metric]) for line in self._lines() if metric in line]
        return [(iteration / found[-1][0], value) for iteration, value in found]

    def step_time(self) -> float | None:
        """Seconds of a training step, the median; None if the run was too short to tell."""
        times = [line["time"] for line in self._lines() if "time" in line]
        return statistics.median(times) if times else None

    def peak_memory(self) -> float | None:
        """GiB on the GPU, or without one of the process, from the progress lines; None if there is no such line."""
        log = self.folder / "log.txt"
        found = re.findall(r"  mem ([\d.]+) GiB", log.read_text()) if log.is_file() else []
        return max(map(float, found), default=None)

    def _lines(self) -> Iterator[dict[str, float]]:
        """The lines of metrics.json, without one that was cut off by a kill."""
        path = self.folder / "metrics.json"
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def with_overrides_apart(args: argparse.Namespace) -> argparse.Namespace:
    """``args`` with the overrides that follow the values of an option moved to the front of ``opts``.

    Seeds become numbers, without duplicates.

    Raises:
        InputError: the first seed is not a whole number.
    """
    keys = config_keys()
    seeds, overrides = values_and_rest(args.seeds, lambda word: not word.isdecimal())
    if not seeds:
        raise InputError(f"--seeds {args.seeds[0]!r} is not a whole number; give one or more, for instance 0 1 2")
    names, rest = values_and_rest(args.variants, keys.__contains__)
    overrides += rest
    apart = argparse.Namespace(**vars(args) | {"seeds": list(dict.fromkeys(map(int, seeds))), "variants": names})
    for option in ("vary", "folds"):
        found = [(key, *values_and_rest(values, keys.__contains__)) for key, *values in getattr(args, option)]
        setattr(apart, option, [[key, *values] for key, values, _ in found])
        overrides += [word for _, _, rest in found for word in rest]
    apart.opts = [*overrides, *args.opts]
    return apart


def variants(group: str) -> list[Path]:
    """The configs of a group, in natural order: t2 before t12.

    Raises:
        InputError: there is no such group.
    """
    groups = {path.name: path for folder in _GROUPS for path in folder.iterdir() if path.is_dir()}
    if group not in groups:
        raise InputError(f"there is no group {group!r}; choose one of {', '.join(sorted(groups))}")
    return sorted(groups[group].glob("*.yml"), key=lambda path: natural_key(path.stem))


def group_runs(args: argparse.Namespace) -> list[Run]:
    """Every variant with the first seed, then every variant with the next; all are checked, none is started.

    With folds: every variant on the first fold with the first seed, then on the next fold.

    Groups overlap (every group has its baseline): a run that is complete in another group below the same --output is
    taken from there.

    Args:
        args: see ``run_group``.

    Raises:
        InputError: see ``run_group``.
    """
    for key, option in (("SEED", "--seeds"), ("OUTPUT_DIR", "--output")):
        if key in args.opts[::2]:
            raise InputError(f"{key} is among the overrides; use {option}")
    settings, folds = (_settings(getattr(args, option), f"--{option}", args.opts) for option in ("vary", "folds"))
    if both := {key for key, _ in settings[0]} & {key for key, _ in folds[0]}:
        raise InputError(f"{both.pop()} is given to --vary and to --folds; give it to one of them")
    files = variants(args.group)
    if args.config_file:
        load_config(args.config_file)
        files = _on_another_base(files, Path(args.config_file), Path(args.output, args.group, "configs"))
    files = _chosen(files, args.variants, args.group)
    elsewhere = _complete_runs(args)
    return [
        _checked_run(file, setting, seed, fold, args, elsewhere)
        for seed in args.seeds
        for fold in folds
        for file in files
        for setting in settings
    ]


def _settings(varied: Sequence[Sequence[str]], option: str, overrides: Sequence[str]) -> list[_Setting]:
    """Every combination of the values that ``option`` was given; a single empty one if it was not given.

    A value that is given twice counts once.
    """
    for key, *values in varied:
        if not values:
            raise InputError(f"{option} {key} has no values; give them after the key")
        if key in overrides[::2] or [other for other, *_ in varied].count(key) > 1:
            raise InputError(f"{option} {key}: {key} is given twice; give it once")
        named: dict[str, str] = {}
        for value in values:
            other = named.setdefault(_in_names(value), value)
            if other != value:
                raise InputError(f"{option} {key}: {other!r} and {value!r} would have the same folder; rename one")
    choices = ([(key, value) for value in dict.fromkeys(values)] for key, *values in varied)
    return [list(pairs) for pairs in itertools.product(*choices)]


def _on_another_base(files: Sequence[Path], base: Path, folder: Path) -> list[Path]:
    """Write the variants again, based on ``base``, except that a variant based on another one of the group stays so."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        own = yaml.safe_load(file.read_text())
        if file.parent / own["_BASE_"] not in files:
            own["_BASE_"] = str(base.resolve())
        (folder / file.name).write_text(yaml.safe_dump(own, sort_keys=False))
    return [folder / file.name for file in files]


def _chosen(files: Sequence[Path], names: Sequence[str], group: str) -> list[Path]:
    """The files with these names; all if no name is given."""
    known = [file.stem for file in files]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--variants {unknown[0]!r} is not a variant of {group}; choose from {', '.join(known)}")
    return [file for file in files if not names or file.stem in names]


def _complete_runs(args: argparse.Namespace) -> dict[Path, dict[str, object]]:
    """The complete runs of other groups below --output: the configuration of each, by its folder."""
    found = {}
    for path in sorted(Path(args.output).glob("*/*/seed*/config.yaml")):
        with suppress(InputError):  # from a version with other keys
            run = Run(path.parents[1].name, path.parent.name, _load(path), [], {})
            if path.parents[2].name != args.group and run.results():
                found[run.folder] = _identity(run.cfg)
    return found


def _load(path: Path) -> CfgNode:
    """A run's own configuration; its folder may have been moved since."""
    return load_config(str(path), ["OUTPUT_DIR", str(path.parent)])


def _checked_run(
    file: Path,
    setting: _Setting,
    seed: int,
    fold: _Setting,
    args: argparse.Namespace,
    elsewhere: dict[Path, dict[str, object]],
) -> Run:
    variant, on_fold = ",".join([file.stem, *_labels(setting)]), _labels(fold)
    folder = Path(args.output, args.group, variant, ",".join([f"seed{seed}", *on_fold]))
    overrides = [*args.opts, *itertools.chain(*setting, *fold), "SEED", str(seed), "OUTPUT_DIR", str(folder)]
    cfg = load_config(str(file), overrides)
    check_config(cfg)
    if holds_run(folder):
        _check_same(folder, cfg)
    else:
        wanted = _identity(cfg)
        same = (other for other, identity in elsewhere.items() if identity == wanted)
        cfg.OUTPUT_DIR = str(next(same, folder))
    cfg.freeze()
    options = ["--config-file", str(file), "--resume", "--num-gpus", str(args.num_gpus)]
    command = [sys.executable, str(_TRAIN), *options, *overrides]
    figures = {} if args.config_file or args.vary or args.folds else published(str(file), overrides)
    return Run(variant, ", ".join([f"seed {seed}", *on_fold]), cfg, command, figures)


def _labels(setting: _Setting) -> list[str]:
    """Labels of a setting in the table and in folder names."""
    return [f"{key.rpartition('.')[2]}={_in_names(value)}" for key, value in setting]


def _in_names(value: str) -> str:
    """A value as it appears in a folder name."""
    return value.replace("/", "-")


def _check_same(folder: Path, cfg: CfgNode) -> None:
    """A run must neither resume nor count as complete with a configuration other than the one it was started with."""
    before, now = _identity(_load(folder / "config.yaml")), _identity(cfg)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise InputError(
                f"the run in {folder} has {key} {before.get(key)!r}, not {now.get(key)!r}; use another --output or "
                "remove that folder"
            )


def _identity(cfg: CfgNode) -> dict[str, object]:
    """The settings that make two runs the same."""
    values = {key: value_of(cfg, key) for key in config_keys(cfg) if key not in _MAY_DIFFER}
    return {key: value for key, value in values.items() if not isinstance(value, CfgNode)}


def _is_metric(name: str) -> bool:
    return name.rpartition("/")[2] in _METRICS


def ordered(metrics: dict[str, float]) -> list[tuple[str, float]]:
    """Metrics ordered by test set, and then as in ``_METRICS``."""

    def position(item: tuple[str, float]) -> tuple[str, int]:
        dataset, _, metric = item[0].rpartition("/")
        return dataset, _METRICS.index(metric)

    return sorted(metrics.items(), key=position)
