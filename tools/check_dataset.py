#!/usr/bin/env python
"""Check a data set: files, official numbers, broken images, leaks. Exit status: 0 sound, 1 problems found, 2 error.

python tools/check_dataset.py Market1501
python tools/check_dataset.py CSVReID --json check.json DATASETS.CSV.PATH crops/labels.csv
"""

import argparse
import sys

from dcal_reid.data.check import check_dataset
from dcal_reid.engine import load_config
from dcal_reid.errors import exit_on_input_error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "name", help="data set: Market1501, MSMT17TrainVal, VeRi, CUB200, CSVReID ... (datasets/README.md)"
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="configuration to take DATASETS.* from")
    parser.add_argument("--fast", action="store_true", help="do not decode images, so that truncated ones go unnoticed")
    parser.add_argument("--workers", type=int, help="number of processes that read images; default: one per core")
    parser.add_argument("--json", default="", metavar="FILE", help="write all results to FILE")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="configuration overrides: DATASETS.CSV.PATH crops/labels.csv ..."
    )
    return parser


def run(args: argparse.Namespace) -> None:
    check = check_dataset(
        args.name,
        load_config(args.config_file, args.opts),
        decode=not args.fast,
        workers=args.workers,
        json_path=args.json,
    )
    print(check.text())
    sys.exit(not check.ok)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
