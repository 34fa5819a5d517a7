#!/usr/bin/env python
"""Do two images show the same identity? Exit status: 0 match, 1 no match, 2 error.

The threshold comes from the features of an evaluation (TEST.SAVE_FEATURES True writes them):

python tools/compare.py a.jpg b.jpg --weights logs/run/model_best.pth --features features.npz --far 0.001
python tools/compare.py a.jpg b.jpg --weights logs/run/model_best.pth --threshold 0.35
"""

import argparse
import sys
import traceback

try:
    from dcal_reid.engine.arguments import add_model_arguments
    from dcal_reid.errors import exit_on_input_error
    from dcal_reid.search.verification import main
except Exception:  # Python's own exit status is 1, which here is an answer
    traceback.print_exc()
    sys.exit(2)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs=2, metavar="IMAGE")
    parser.add_argument(
        "--features", metavar="FILE", help="features.npz from an evaluation of this model, to derive the threshold from"
    )
    parser.add_argument(
        "--far",
        type=float,
        default=0.001,
        metavar="RATE",
        help="false-accept rate: share of pairs of different identities that may be accepted; default: %(default)s",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="DISTANCE",
        help="distance below which the images match (cosine: 1 - similarity)",
    )
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    # As diff does, so that a script can tell "no match" from "cannot say".
    try:
        exit_on_input_error(lambda: sys.exit(not main(args)))
    except Exception:
        traceback.print_exc()
        sys.exit(2)


if __name__ == "__main__":
    run(parser().parse_intermixed_args())
