#!/usr/bin/env python
"""Evaluate a model and write one HTML file: metrics, curves, hardest queries or classes, attention, configuration.

python tools/report.py --weights logs/run/model_final.pth --output report.html
python tools/report.py --weights logs/run/model_final.pth --dataset Market1501 TEST.RERANK.ENABLED True
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments, predictor_from
from dcal_reid.errors import exit_on_input_error
from dcal_reid.visualize.html_report import write_report


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="test dataset; default: the first of DATASETS.TESTS"
    )
    parser.add_argument(
        "--count", type=int, default=6, help="number of hardest queries, or of predictions; default: %(default)s"
    )
    parser.add_argument(
        "--output", default="report.html", metavar="FILE", help="HTML file to write; default: %(default)s"
    )
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    write_report(predictor_from(args), args.output, dataset=args.dataset, count=args.count)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
