#!/usr/bin/env python
"""Write all that inference needs to one file: weights, configuration and class names; no optimiser, no code.

python tools/export.py --weights logs/veri/dcal_vitb/model_best.pth dcal_vitb.safetensors
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments, predictor_from
from dcal_reid.errors import exit_on_input_error
from dcal_reid.export import export_weights


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTPUT.safetensors", help="the file to write")
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    export_weights(predictor_from(args), args.output)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
