import inspect
import re
import runpy
from pathlib import Path

import pytest

from dcal_reid.benchmark import infer, ranking, step
from dcal_reid.benchmark.data import benchmark_data
from dcal_reid.benchmark.serve import benchmark_serve

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "benchmark.py"))
# Every benchmark, with its required arguments.
COMMANDS = {
    "ranking": [],
    "rerank": [],
    "search": [],
    "step": [],
    "infer": [],
    "schedule": ["configs/veri/dcal_vitb.yml"],
    "data": [],
    "cost": [],
    "serve": ["gallery", "--weights", "a.pth", "--images", "crops"],
    "soak": [],
    "export": [],
}


@pytest.fixture
def parser():
    return TOOL["parser"]()


def test_ranking_rerank_and_search(parser):
    args = parser.parse_args(["ranking", "--size", "msmt17", "--no-fastreid"])
    assert (args.benchmark, args.size, args.dim, args.fastreid) == (ranking.benchmark_ranking, "msmt17", 1536, False)
    assert parser.parse_args(["rerank", "--dim", "256", "--dense"]).dense
    assert parser.parse_args(["search", "--factories", "Flat"]).factories == ["Flat"]


def test_step(parser):
    args = parser.parse_args(
        ["step", "--case", "demo", "--case", "deit-s-256x128", "--amp", "bf16", "--readout", "cls", "--batch", "16"]
    )
    assert vars(args) == {
        "benchmark": step.benchmark_step, "cases": ["demo", "deit-s-256x128"], "batch": 16, "repeats": 5,
        "device": "cpu", "amp": "bf16", "readout": "cls",
    }  # fmt: skip
    assert parser.parse_args(["step"]).cases is None


def test_infer(parser):
    args = parser.parse_args(["infer", "--case", "demo", "--device", "cuda"])
    assert (args.benchmark, args.cases, args.device, args.readout) == (
        infer.benchmark_infer, ["demo"], "cuda", "mean",
    )  # fmt: skip


def test_serve(parser):
    args = parser.parse_args(["serve", "gallery", "--weights", "a.pth", "--images", "crops", "--clients", "3"])
    assert (args.benchmark, args.gallery, args.clients, args.requests) == (benchmark_serve, "gallery", 3, 1000)


def test_data(parser):
    args = parser.parse_args(["data", "--case", "birds", "--batch", "16"])
    assert vars(args) == {"benchmark": benchmark_data, "cases": ["birds"], "batch": 16, "repeats": 5}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_benchmark_gets_what_its_command_has(parser, command, capsys):
    args = parser.parse_args([command, *COMMANDS[command]])
    options = {name: value for name, value in vars(args).items() if name != "benchmark"}
    inspect.signature(args.benchmark).bind(**options)
    found = []
    args.benchmark = lambda **options: found.append(options)
    TOOL["run"](args)
    assert found == [options]
    with pytest.raises(SystemExit, match=r"^0$"):
        parser.parse_args([command, "--help"])
    assert f" {command} [-h]" in capsys.readouterr().out


def test_help_lists_every_benchmark(parser, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        parser.parse_args(["--help"])
    assert re.findall(r"^    (\w+) +\S", capsys.readouterr().out, re.MULTILINE) == list(COMMANDS)
