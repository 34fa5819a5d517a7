#!/usr/bin/env python
"""Extract features of a folder, a CSV file, a list of paths or a dataset. An interrupted run resumes where it stopped.

python tools/extract_features.py crops/ crops.npz --weights logs/run/model_best.pth
python tools/extract_features.py --dataset VeRi --split gallery gallery.parquet --weights logs/run/model_best.pth
torchrun --nproc-per-node 4 tools/extract_features.py labels.csv features.npz --weights logs/run/model_best.pth
"""

import argparse

from dcal_reid.engine.arguments import add_model_arguments
from dcal_reid.errors import exit_on_input_error
from dcal_reid.search.extraction import main
from dcal_reid.search.sources import SPLITS, add_source_argument


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_argument(parser)
    parser.add_argument(
        "output", metavar="OUTPUT", help=".npz or .parquet file to write; until complete, features are in OUTPUT.parts"
    )
    parser.add_argument("--dataset", default="", metavar="NAME", help="registered dataset to use in place of SOURCE")
    parser.add_argument("--split", default="gallery", choices=SPLITS, help="split of the dataset; default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="number of GPUs, or of processes on the CPU; default: 1, or torchrun's",
    )
    parser.set_defaults(num_machines=1, machine_rank=0, dist_url="auto")
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    if args.dataset and args.source is not None:  # there is no SOURCE, so OUTPUT is in its place
        args.source, args.output, args.opts = None, args.source, [args.output, *args.opts]
    main(args)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
