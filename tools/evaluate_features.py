#!/usr/bin/env python
"""Score saved features of a test set again, with other options and without the model.

python tools/evaluate_features.py logs/run/features/VeRi/features.npz TEST.METRIC euclidean TEST.RERANK.ENABLED True
"""

import argparse

from dcal_reid.engine import load_config
from dcal_reid.errors import exit_on_input_error
from dcal_reid.evaluation.rescore import rescore


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="features.npz written by an evaluation")
    parser.add_argument(
        "--config-file", default="", help="configuration to take TEST.* and MODEL.DEVICE from; default: none"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write all results to FILE, query by query")
    parser.add_argument(
        "--plot", default="", metavar="FILE", help="draw CMC, AP and, with TEST.ROC.ENABLED True, ROC to FILE"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="configuration overrides: TEST.METRIC euclidean ..."
    )
    return parser


def run(args: argparse.Namespace) -> None:
    rescore(args.features, load_config(args.config_file, args.opts), args.json, args.plot)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
