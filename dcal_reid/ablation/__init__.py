"""Ablations: train the variants of a group over seeds, and compare them (tools/ablate.py)."""

import argparse
import sys
from pathlib import Path

from ..errors import InputError
from .report import Cost, cost, report
from .runs import Run, group_runs, variants, with_overrides_apart
from .training import train_unfinished

__all__ = [
    "Cost",
    "Run",
    "cost",
    "group_runs",
    "report",
    "run_group",
    "train_unfinished",
    "variants",
    "with_overrides_apart",
]


def run_group(args: argparse.Namespace) -> None:
    """Train the unfinished runs of a group, then print and save its table, and save its plots.

    Args:
        args: ``group``, a folder of configs/ablation or configs/results; ``variants``, names of its configs, or none
            for all of them; ``seeds``; ``config_file``, which replaces the config that the variants are based on, or
            empty; ``vary``, keys with the values that every variant is tried with; ``folds``, keys with the values that
            every variant is repeated with, like seeds; ``jobs``, how many runs at a time; ``baseline``, the variant
            that the others are compared with, or empty for the one called baseline; ``output``, the folder for
            everything; ``num_gpus`` and ``opts`` as for tools/train_net.py.

    Raises:
        InputError: a group, config or override that cannot be used, or an existing run with another configuration.
        SystemExit: with status 1 if a run failed, with 130 if a signal stopped it.
    """
    if args.jobs < 1:
        raise InputError(f"--jobs is {args.jobs}; give 1 or more")
    runs = group_runs(args)
    names = list(dict.fromkeys(run.variant for run in runs))
    choices = list(dict.fromkeys([*(name.partition(",")[0] for name in names), *names]))
    if args.baseline and args.baseline not in choices:
        raise InputError(
            f"--baseline {args.baseline!r} is not a variant of {args.group}; choose one of {', '.join(choices)}"
        )
    try:
        failed = train_unfinished(runs, args.jobs)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    based = [f"on {args.config_file}"] if args.config_file else []
    title = " ".join([args.group, *based, *args.opts])
    report(runs, title, Path(args.output, args.group), args.baseline or "baseline")
    if failed:
        sys.exit(1)
