#!/usr/bin/env python
"""Serve a gallery for search: in the browser, at http://127.0.0.1:8000, and by other programs (see /openapi.json).

python tools/serve.py gallery --weights logs/run/model_best.pth
python tools/serve.py gallery --weights logs/run/model_best.pth --allow-add --uploads added
"""

import argparse
from pathlib import Path

from dcal_reid.engine.arguments import add_model_arguments
from dcal_reid.errors import InputError, exit_on_input_error
from dcal_reid.search.location import add_gallery_arguments, gallery_location
from dcal_reid.search.model import feature_predictor
from dcal_reid.serve import Settings, run_server


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_gallery_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--host", default=Settings.host, help="address to listen on; default: %(default)s")
    parser.add_argument(
        "--port", type=int, default=Settings.port, help="port to listen on, 0 for any free one; default: %(default)s"
    )
    parser.add_argument(
        "--allowed-hosts",
        nargs="+",
        default=(),
        metavar="NAME",
        help="names of this server besides localhost and HOST; *.NAME allows all names below NAME",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="DISTANCE",
        help="distance below which a hit is a match; default: derived from the gallery",
    )
    parser.add_argument("--allow-add", action="store_true", help="let visitors add and remove images")
    parser.add_argument("--uploads", type=Path, metavar="DIR", help="folder for images that visitors add")
    parser.add_argument(
        "--max-upload-mib",
        type=float,
        default=Settings.max_upload_bytes / 2**20,
        help="maximum size of a whole request, in MiB; default: %(default)g",
    )
    parser.add_argument(
        "--max-pixels", type=int, default=Settings.max_pixels, help="maximum pixels of an image; default: %(default)s"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    if not 0 < args.max_upload_mib < float("inf"):
        raise InputError(f"--max-upload-mib is {args.max_upload_mib:g}; give a number above 0")
    settings = Settings(
        host=args.host,
        port=args.port,
        allowed_hosts=tuple(args.allowed_hosts),
        threshold=args.threshold,
        allow_add=args.allow_add,
        uploads=args.uploads,
        max_upload_bytes=int(args.max_upload_mib * 2**20),
        max_pixels=args.max_pixels,
    )
    location = gallery_location(args)
    run_server(location, feature_predictor(args), settings)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
