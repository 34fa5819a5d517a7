#!/usr/bin/env python
"""Export a model to one ONNX file, and check it against PyTorch.

python tools/export_onnx.py --weights logs/veri/dcal_vitb/model_best.pth --images crops/ --with-predictor dcal.onnx
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments, predictor_from
from dcal_reid.errors import exit_on_input_error
from dcal_reid.export import export_onnx


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTPUT.onnx", help="the file to write")
    parser.add_argument(
        "--images",
        action="append",
        default=[],
        metavar="PATH",
        help="image file or folder to compare on; repeatable; default: generated images",
    )
    parser.add_argument("--program", default="", metavar="FILE.pt2", help="also write a torch.export program")
    parser.add_argument(
        "--with-predictor",
        action="store_true",
        help="copy onnx_predictor.py beside OUTPUT, which runs the model in Python without PyTorch",
    )
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    export_onnx(predictor_from(args), args.output, args.images, args.program, args.with_predictor)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
