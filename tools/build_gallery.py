#!/usr/bin/env python
"""Build a searchable gallery, or add or remove images. An interrupted build resumes where it stopped.

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
        help="index type; faiss: HNSW32, IVF4096,Flat, IVF4096,PQ32 ...; Milvus: HNSW, IVF_FLAT ...; default: exact",
    )
    parser.add_argument(
        "--search",
        default="",
        metavar="EFFORT",
        help="search effort, for faiss only: nprobe=32, efSearch=64 ...; default: depends on --index",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing GALLERY")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--add", action="store_true", help="add SOURCE to GALLERY; images whose path is already in it are skipped"
    )
    change.add_argument("--remove", nargs="+", default=[], metavar="PATH", help="images to remove; needs no model")
    change.add_argument("--remove-list", default="", metavar="FILE", help="file of paths to remove, one per line")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    exit_on_input_error(build, parser().parse_intermixed_args())
