#!/usr/bin/env python
"""Train the variants of an ablation over seeds and compare them in one table. What is complete is not run again.

python tools/ablate.py table3_cub --seeds 0 1 2
python tools/ablate.py table3_cub --seeds 0 1 --jobs 4 --vary SOLVER.BASE_LR 0.0001 0.0003 0.0009
python tools/ablate.py table3_cub --config-file configs/csv/dcal_vit_tiny.yml --seeds 0 1 2 DATASETS.CSV.PATH labels.csv
"""

import argparse

from dcal_reid.ablation import run_group, with_overrides_apart
from dcal_reid.errors import exit_on_input_error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", help="a folder of configs/ablation or configs/results")
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="NAME", help="of the group, without .yml; default: all of them"
    )
    parser.add_argument("--seeds", nargs="+", default=["0"], metavar="SEED", help="default: 0")
    parser.add_argument("--config-file", default="", help="what the variants are based on; default: the paper's")
    parser.add_argument(
        "--output", default="logs/ablation", help="everything goes to OUTPUT/GROUP; default: %(default)s"
    )
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="every variant with each of these values; given again, with every combination",
    )
    parser.add_argument(
        "--folds",
        nargs="+",
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="every variant with each of these values, repetitions as seeds are: DATASETS.CSV.PATH 1.csv 2.csv",
    )
    parser.add_argument(
        "--baseline", default="", help="the variant that the others are compared with; default: baseline"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; default: 1")
    parser.add_argument("--num-gpus", type=int, default=1, help="of each run; default: 1")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="of every run: SOLVER.MAX_EPOCH 10 ...")
    return parser


def run(args: argparse.Namespace) -> None:
    run_group(with_overrides_apart(args))


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
