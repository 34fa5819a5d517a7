#!/usr/bin/env python
"""Find the gallery images that are nearest to query images.

python tools/search_gallery.py gallery query.jpg --weights logs/run/model_best.pth --picture found.png
python tools/search_gallery.py gallery query.jpg --exclude-camera 3 --threshold 0.35 --weights logs/run/model_best.pth
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments, images_and_overrides
from dcal_reid.errors import exit_on_input_error
from dcal_reid.search.jobs import search
from dcal_reid.search.location import add_gallery_arguments


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_gallery_arguments(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="query images, folders or lists of images")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="items per query; default: %(default)s")
    parser.add_argument("--threshold", type=float, metavar="DISTANCE", help="mark items below this distance as matches")
    parser.add_argument("--cameras", nargs="+", default=[], metavar="CAMERA", help="search only items of these cameras")
    parser.add_argument(
        "--exclude-camera", action="append", default=[], metavar="CAMERA", help="skip items of this camera; repeatable"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--picture", default="", metavar="FILE", help="draw the results to FILE, at most 50 queries")
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    args.images, args.opts = images_and_overrides([*args.images, *args.opts])
    search(args)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
