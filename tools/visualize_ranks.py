#!/usr/bin/env python
"""Draw queries of a dataset with their nearest gallery images, right and wrong ones framed, and curves.

python tools/visualize_ranks.py --weights logs/run/model_final.pth --output ranks.png --curves curves.png
python tools/visualize_ranks.py --features logs/run/features/VeRi/features.npz --order spread
python tools/visualize_ranks.py --weights logs/run/model_final.pth --attention --identities 12 40 --top 5
"""

import argparse

from dcal_reid.engine import load_config
from dcal_reid.engine.arguments import add_model_arguments, predictor_from
from dcal_reid.errors import exit_on_input_error
from dcal_reid.visualize.chosen import ORDERS
from dcal_reid.visualize.ranks import show_ranks


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="", metavar="FILE", help="features.npz of an evaluation; needs no model")
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="test dataset; default: the first of DATASETS.TESTS"
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="worst",
        help="which queries to draw, by average precision; default: %(default)s",
    )
    parser.add_argument(
        "--queries", nargs="+", type=int, default=[], metavar="N", help="queries to draw, counted from 0"
    )
    parser.add_argument(
        "--identities", nargs="+", type=int, default=[], metavar="ID", help="draw only queries of these identities"
    )
    parser.add_argument("--count", type=int, default=6, help="number of queries; default: %(default)s")
    parser.add_argument("--top", type=int, default=10, help="gallery images per query; default: %(default)s")
    parser.add_argument("--attention", action="store_true", help="overlay the SA rollout on the images")
    parser.add_argument("--output", default="ranks.png", metavar="FILE", help="picture to write; default: %(default)s")
    parser.add_argument("--curves", default="", metavar="FILE", help="also draw CMC, AP, ROC and distances to FILE")
    add_model_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    predictor = predictor_from(args) if args.weights or args.attention or not args.features else None
    evaluator = show_ranks(
        args.output,
        load_config(args.config_file, args.opts) if predictor is None else predictor.cfg,
        predictor,
        features=args.features,
        dataset=args.dataset,
        order=args.order,
        queries=args.queries,
        identities=args.identities,
        count=args.count,
        top=args.top,
        attention=args.attention,
        curves=args.curves,
    )
    print(evaluator.result.describe(), evaluator.result.table(), sep="\n\n")


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_intermixed_args())
