#!/usr/bin/env python
"""Benchmark dcal_reid against other implementations in the same run, or measure its cost and stability.

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
    _ranking(commands.add_parser("ranking", help="exact ranking, compared with fast-reid's"))
    _rerank(
        commands.add_parser(
            "rerank", help="k-reciprocal re-ranking, compared with its matrix products alone and with fast-reid's"
        )
    )
    _search(commands.add_parser("search", help="search in a large gallery with faiss indexes"))
    others = "compared with self-attention alone (timm, fast-reid) and naive DCAL"
    _model(commands.add_parser("step", help=f"training step, {others}"), benchmark_step)
    _model(commands.add_parser("infer", help=f"inference, {others}"), benchmark_infer)
    _schedule(commands.add_parser("schedule", help="total training time of configurations"))
    _data(commands.add_parser("data", help="training loader, compared with fast-reid's, on one core"))
    cost = commands.add_parser("cost", help="parameters and operations, compared with the paper's table 3")
    cost.set_defaults(benchmark=benchmark_cost)
    _serve(commands.add_parser("serve", help="search server under many concurrent clients"))
    _soak(commands.add_parser("soak", help="check for leaks while training and evaluating for hours"))
    add_export_arguments(commands.add_parser("export", help="inference in onnxruntime, compared with PyTorch"))
    return parser


def _features(parser: argparse.ArgumentParser, repeats: int) -> None:
    parser.add_argument("--size", choices=SIZES, default="market1501", help="test set whose size is simulated")
    parser.add_argument("--dim", type=int, default=1536, help="feature dimension")
    parser.add_argument("--noise", type=float, help="noise within identities; default: chosen for an mAP of 0.5 to 0.9")
    parser.add_argument("--repeats", type=int, default=repeats, help="runs per implementation; the median is shown")
    parser.add_argument("--device", default="cpu", help="device to run on: cpu or cuda")


def _ranking(parser: argparse.ArgumentParser) -> None:
    _features(parser, repeats=5)
    parser.add_argument(
        "--no-fastreid",
        dest="fastreid",
        action="store_false",
        help="skip fast-reid's rankings, which need Cython, gcc and 20 bytes per pair of query and gallery image",
    )
    parser.set_defaults(benchmark=benchmark_ranking)


def _rerank(parser: argparse.ArgumentParser) -> None:
    _features(parser, repeats=3)
    parser.add_argument("--dense", action="store_true", help="also run fast-reid's dense implementation")
    parser.set_defaults(benchmark=benchmark_rerank)


def _search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=1_000_000, help="number of gallery items")
    parser.add_argument("--dim", type=int, default=256, help="feature dimension")
    parser.add_argument("--queries", type=int, default=1000, help="number of queries per search")
    parser.add_argument("--factories", nargs="+", default=FACTORIES, help="faiss factory strings of the indexes")
    parser.add_argument("--repeats", type=int, default=3, help="timed searches after a warm-up; the median is shown")
    parser.set_defaults(benchmark=benchmark_search)


def _cases(parser: argparse.ArgumentParser, choices: Iterable[str]) -> None:
    parser.add_argument(
        "--case", dest="cases", action="append", choices=choices, help="case to run; repeatable; default: all"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs per implementation; the median is shown")


def _model(parser: argparse.ArgumentParser, benchmark: Callable) -> None:
    _cases(parser, CASES)
    parser.add_argument("--batch", type=int, help="batch size; default: depends on the case and the device")
    parser.add_argument("--device", default="cpu", help="device to run on: cpu or cuda")
    parser.add_argument("--amp", choices=("none", "bf16"), default="none", help="autocast precision")
    parser.add_argument("--readout", choices=("cls", "mean"), default="mean", help="read-out of GLCA")
    parser.set_defaults(benchmark=benchmark)


def _schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="configurations: configs/veri/dcal_vitb.yml ...")
    parser.add_argument("--images", type=int, help="number of training images; default: the data set's official number")
    parser.add_argument("--batch", type=int, help="batch size of the timed steps; default: SOLVER.IMS_PER_BATCH")
    parser.add_argument("--repeats", type=int, default=3, help="number of timed steps; the median is shown")
    parser.add_argument("--device", default="auto", help="device to run on: cpu, cuda or auto")
    parser.add_argument("--amp", choices=("none", "bf16"), help="autocast precision; default: the configuration's")
    parser.add_argument("--cuda-graph", action="store_true", help="enable SOLVER.CUDA_GRAPH; needs a GPU")
    parser.set_defaults(benchmark=benchmark_schedule)


def _data(parser: argparse.ArgumentParser) -> None:
    _cases(parser, CROPS)
    parser.add_argument("--batch", type=int, default=32, help="batch size")
    parser.set_defaults(benchmark=benchmark_data)


def _soak(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=60, help="minutes to run; default: %(default)s")
    parser.set_defaults(benchmark=benchmark_soak)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", help="gallery folder")
    parser.add_argument("--weights", required=True, metavar="FILE", help="weights of the model that built the gallery")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of query images, used in turn")
    parser.add_argument(
        "--clients",
        type=int,
        default=50,
        help="number of concurrent clients; before them, one client does a tenth of the searches",
    )
    parser.add_argument("--requests", type=int, default=1000, help="total number of searches by all clients")
    parser.add_argument("--device", default="auto", help="device of the server: cpu, cuda or auto")
    parser.set_defaults(benchmark=benchmark_serve)


def run(args: argparse.Namespace) -> None:
    options = vars(args)
    options.pop("benchmark")(**options)


if __name__ == "__main__":
    exit_on_input_error(run, parser().parse_args())
