#!/usr/bin/env python
"""Measure dcal_reid and what it is compared with in one run.

python tools/benchmark.py ranking --size market1501
python tools/benchmark.py rerank --size market1501 --dim 256 --dense
python tools/benchmark.py search --items 1000000 --dim 256
python tools/benchmark.py step --case vit-b-256x128 --device cuda --amp bf16
python tools/benchmark.py schedule configs/veri/dcal_vitb.yml --device cuda
python tools/benchmark.py infer --case deit-t-448x448 --readout cls
python tools/benchmark.py data --case persons
python tools/benchmark.py cost
python tools/benchmark.py soak --minutes 60
python tools/benchmark.py export --weights logs/run/model_best.pth --threads 1
"""

import argparse
from collections.abc import Callable, Iterable

from dcal_reid.benchmark.cost import benchmark_cost
from dcal_reid.benchmark.data import CROPS, benchmark_data
from dcal_reid.benchmark.export import add_arguments as add_export_arguments
from dcal_reid.benchmark.infer import benchmark_infer
from dcal_reid.benchmark.models import CASES
from dcal_reid.benchmark.ranking import benchmark_ranking
from dcal_reid.benchmark.rerank import benchmark_rerank
from dcal_reid.benchmark.schedule import benchmark_schedule
from dcal_reid.benchmark.search import FACTORIES, benchmark_search
from dcal_reid.benchmark.serve import benchmark_serve
from dcal_reid.benchmark.soak import benchmark_soak
from dcal_reid.benchmark.step import benchmark_step
from dcal_reid.benchmark.synthetic import SIZES
from dcal_reid.errors import exit_on_input_error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    _ranking(commands.add_parser("ranking", help="exact ranking against fast-reid's"))
    _rerank(commands.add_parser("rerank", help="k-reciprocal re-ranking against its products and fast-reid's"))
    _search(commands.add_parser("search", help="faiss indexes of a large gallery"))
    others = "against timm's self-attention alone, naive DCAL and fast-reid's own"
    _model(commands.add_parser("step", help=f"the training step {others}"), benchmark_step)
    _model(commands.add_parser("infer", help=f"inference {others}"), benchmark_infer)
    _schedule(commands.add_parser("schedule", help="how long the whole training of a configuration takes"))
    _data(commands.add_parser("data", help="the training loader against fast-reid's, on one core"))
    cost = commands.add_parser("cost", help="parameters and operations against the paper's table 3")
    cost.set_defaults(benchmark=benchmark_cost)
    _serve(commands.add_parser("serve", help="the search server under many clients at one time"))
    _soak(commands.add_parser("soak", help="whether a process that trains and evaluates for hours grows"))
    add_export_arguments(commands.add_parser("export", help="a model in onnxruntime against PyTorch"))
    return parser


def _features(parser: argparse.ArgumentParser, repeats: int) -> None:
    parser.add_argument("--size", choices=SIZES, default="market1501", help="of which test set")
    parser.add_argument("--dim", type=int, default=1536, help="of the features")
    parser.add_argument("--noise", type=float, help="around identities; default: one for an mAP of 0.5 to 0.9")
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of each way; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def _ranking(parser: argparse.ArgumentParser) -> None:
    _features(parser, repeats=5)
    parser.add_argument(
        "--no-fastreid",
        dest="fastreid",
        action="store_false",
        help="leave out fast-reid's rankings, which need Cython, gcc and 20 bytes for each query and gallery image",
    )
    parser.set_defaults(benchmark=benchmark_ranking)


def _rerank(parser: argparse.ArgumentParser) -> None:
    _features(parser, repeats=3)
    parser.add_argument("--dense", action="store_true", help="run fast-reid's dense implementation, too")
    parser.set_defaults(benchmark=benchmark_rerank)


def _search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=1_000_000, help="of the gallery")
    parser.add_argument("--dim", type=int, default=256, help="of the features")
    parser.add_argument("--queries", type=int, default=1000, help="searched together")
    parser.add_argument("--factories", nargs="+", default=FACTORIES, help="faiss' words for indexes")
    parser.add_argument("--repeats", type=int, default=3, help="searches after the first; the median counts")
    parser.set_defaults(benchmark=benchmark_search)


def _cases(parser: argparse.ArgumentParser, choices: Iterable[str]) -> None:
    parser.add_argument("--case", dest="cases", action="append", choices=choices, help="repeatable; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way; the median counts")


def _model(parser: argparse.ArgumentParser, benchmark: Callable) -> None:
    _cases(parser, CASES)
    parser.add_argument("--batch", type=int, help="images in a batch; default: the case's for the device")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--amp", choices=("none", "bf16"), default="none", help="autocast")
    parser.add_argument("--readout", choices=("cls", "mean"), default="mean", help="of GLCA")
    parser.set_defaults(benchmark=benchmark)


def _schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="configs/veri/dcal_vitb.yml, ...")
    parser.add_argument("--images", type=int, help="training images; default: the data set's official number")
    parser.add_argument("--batch", type=int, help="images in a timed step; default: SOLVER.IMS_PER_BATCH")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps; the median counts")
    parser.add_argument("--device", default="auto", help="cpu or cuda")
    parser.add_argument("--amp", choices=("none", "bf16"), help="autocast; default: as the configuration says")
    parser.add_argument("--cuda-graph", action="store_true", help="with SOLVER.CUDA_GRAPH; needs --device cuda")
    parser.set_defaults(benchmark=benchmark_schedule)


def _data(parser: argparse.ArgumentParser) -> None:
    _cases(parser, CROPS)
    parser.add_argument("--batch", type=int, default=32, help="images in a batch")
    parser.set_defaults(benchmark=benchmark_data)


def _soak(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=60, help="default: %(default)s")
    parser.set_defaults(benchmark=benchmark_soak)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", help="the folder of a gallery")
    parser.add_argument("--weights", required=True, metavar="FILE", help="of the model that made it")
    parser.add_argument("--images", required=True, metavar="DIR", help="the queries, in turns")
    parser.add_argument(
        "--clients", type=int, default=50, help="at one time, after one alone with a tenth of the searches"
    )
    parser.add_argument("--requests", type=int, default=1000, help="searches of all clients together")
    parser.add_argument("--device", default="auto", help="of the server")
    parser.set_defaults(benchmark=benchmark_serve)


def run(args: argparse.Namespace) -> None:
    options = vars(args)
    options.pop("benchmark")(**options)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_args())
