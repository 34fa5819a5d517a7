#!/usr/bin/env python
"""Score the features of a test set again, with other options and without the model.

python tools/evaluate_features.py logs/run/features/VeRi/features.npz TEST.METRIC euclidean TEST.RERANK.ENABLED True
"""

import argparse

from dcal_reid.engine import load_config
from dcal_reid.errors import exit_on_input_error
from dcal_reid.evaluation.rescore import rescore


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="features.npz, which an evaluation wrote")
    parser.add_argument("--config-file", default="", help="its TEST.* and MODEL.DEVICE are used; default: none")
    parser.add_argument("--json", default="", metavar="FILE", help="write everything to FILE, query by query")
    parser.add_argument(
        "--plot", default="", metavar="FILE", help="draw CMC, AP and, with TEST.ROC.ENABLED True, ROC to FILE"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="TEST.METRIC, TEST.RERANK.ENABLED ...")
    return parser


def run(args: argparse.Namespace) -> None:
    rescore(args.features, load_config(args.config_file, args.opts), args.json, args.plot)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
