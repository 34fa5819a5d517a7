#!/usr/bin/env python
"""Build a gallery that can be searched, add images to it or remove some. An interrupted build goes on where it stopped.

python tools/build_gallery.py labels.csv gallery --weights logs/run/model_best.pth
python tools/build_gallery.py new_crops/ gallery --add --weights logs/run/model_best.pth
python tools/build_gallery.py gallery --remove crops/1.jpg crops/2.jpg
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments
from dcal_reid.errors import exit_on_input_error
from dcal_reid.search.jobs import build
from dcal_reid.search.location import add_gallery_arguments
from dcal_reid.search.sources import add_source_argument


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_argument(parser)
    add_gallery_arguments(parser)
    parser.add_argument(
        "--index",
        default="",
        help="of faiss: HNSW32, IVF4096,Flat, IVF4096,PQ32 ...; of Milvus: HNSW, IVF_FLAT ...; default: exact",
    )
    parser.add_argument(
        "--search",
        default="",
        metavar="EFFORT",
        help="how hard faiss searches: nprobe=32, efSearch=64 ...; default: fits --index",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace GALLERY")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--add", action="store_true", help="add SOURCE to GALLERY; images whose path is in it already are left out"
    )
    change.add_argument("--remove", nargs="+", default=[], metavar="PATH", help="images to remove; needs no model")
    change.add_argument("--remove-list", default="", metavar="FILE", help="the same, one path per line")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    exit_on_input_error(build, parser().parse_intermixed_args())
