"""Ablations: train the variants of a group over seeds, and compare them (tools/ablate.py)."""

import argparse
import sys
from pathlib import Path

from .report import Cost, cost, report
from .runs import Run, group_runs, seeds_and_overrides, train_unfinished, variants

__all__ = ["Cost", "Run", "cost", "group_runs", "run_group", "seeds_and_overrides", "train_unfinished", "variants"]


def run_group(args: argparse.Namespace) -> None:
    """Train what is unfinished of a group, then print and save its table and its plot.

    Args:
        args: ``group``, a folder of configs/ablation; ``seeds``; ``config_file``, which takes the place of the config
            that the variants are based on, or empty; ``output``, the folder for everything; ``num_gpus`` and ``opts``
            as for tools/train_net.py.

    Raises:
        InputError: a group, config or override that cannot be used, or a run there with another configuration.
        SystemExit: with status 1 if a run failed, with 130 if the user interrupted.
    """
    runs = group_runs(args)
    try:
        failed = train_unfinished(runs)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on after the last complete epoch", file=sys.stderr)
        sys.exit(130)
    based = [f"on {args.config_file}"] if args.config_file else []
    report(runs, " ".join([args.group, *based, *args.opts]), Path(args.output, args.group))
    if failed:
        sys.exit(1)
