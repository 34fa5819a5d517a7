#!/usr/bin/env python
"""Draw where SA and GLCA look in images and which patches GLCA selects; or where PWCA looks in a pair of images.

python tools/visualize_attention.py --weights logs/run/model_final.pth --images a.jpg b.jpg folder --output look.png
python tools/visualize_attention.py --weights logs/run/model_final.pth --dataset VeRi --split gallery --count 12
python tools/visualize_attention.py --weights logs/run/model_final.pth --pair target.jpg distractor.jpg
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments, images_and_overrides, predictor_from
from dcal_reid.errors import exit_on_input_error
from dcal_reid.visualize.attention_grid import show_attention


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", nargs="+", default=[], metavar="FILE", help="images and folders to draw")
    what.add_argument(
        "--pair", nargs=2, default=[], metavar="FILE", help="two images to draw as a pair, each the other's distractor"
    )
    what.add_argument("--dataset", default="", metavar="NAME", help="draw images of this dataset")
    parser.add_argument(
        "--split",
        choices=("query", "gallery", "train"),
        default="query",
        help="split of the dataset; default: %(default)s",
    )
    parser.add_argument(
        "--count", type=int, default=8, help="number of images from a dataset or folder; default: %(default)s"
    )
    parser.add_argument(
        "--output", default="attention.png", metavar="FILE", help="picture to write; default: %(default)s"
    )
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    images, overrides = images_and_overrides(args.images)
    args.opts = [*overrides, *args.opts]
    show_attention(
        predictor_from(args),
        args.output,
        images=images,
        pair=args.pair,
        dataset=args.dataset,
        split=args.split,
        count=args.count,
    )


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
