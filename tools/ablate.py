#!/usr/bin/env python
"""Train the variants of an ablation over seeds and compare them in one table. Completed runs are skipped.

python tools/ablate.py table3_cub --seeds 0 1 2
python tools/ablate.py table3_cub --seeds 0 1 --jobs 4 --vary SOLVER.BASE_LR 0.0001 0.0003 0.0009
python tools/ablate.py table3_cub --config-file configs/csv/dcal_vit_tiny.yml --seeds 0 1 2 DATASETS.CSV.PATH labels.csv
"""

import argparse

from dcal_reid.ablation import run_group, with_overrides_apart
from dcal_reid.errors import exit_on_input_error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", help="name of a folder in configs/ablation or configs/results")
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="NAME", help="variants, without .yml; default: all of the group"
    )
    parser.add_argument("--seeds", nargs="+", default=["0"], metavar="SEED", help="seeds to train with; default: 0")
    parser.add_argument("--config-file", default="", help="base configuration of the variants; default: the paper's")
    parser.add_argument(
        "--output", default="logs/ablation", help="output folder; results go to OUTPUT/GROUP; default: %(default)s"
    )
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="train every variant with each of these values; repeatable, for every combination of values",
    )
    parser.add_argument(
        "--folds",
        nargs="+",
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="repeat every variant with each of these values, as with seeds: DATASETS.CSV.PATH 1.csv 2.csv",
    )
    parser.add_argument("--baseline", default="", help="variant to compare the others with; default: baseline")
    parser.add_argument("--jobs", type=int, default=1, help="number of runs in parallel; default: 1")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs per run; default: 1")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="configuration overrides for every run: SOLVER.MAX_EPOCH 10 ..."
    )
    return parser


def run(args: argparse.Namespace) -> None:
    run_group(with_overrides_apart(args))


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
