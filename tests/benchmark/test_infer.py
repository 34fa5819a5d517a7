import runpy
from pathlib import Path

import pytest

from dcal_reid.benchmark import infer, models
from dcal_reid.benchmark.models import CASES, Case
from dcal_reid.errors import InputError

TINY = {"patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 3}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    for name, recipe in (("toy", models._REID), ("toy-classes", models._CLASSIFICATION)):
        monkeypatch.setitem(CASES, name, Case(name, "vit_tiny_patch16_224", (64, 32), 8, 8, 8, recipe, TINY))


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("readout", ["cls", "mean"])
@pytest.mark.parametrize(("case", "amp"), [("toy", "none"), ("toy-classes", "bf16")])
def test_infer(capsys, case, amp, readout):
    ratios = infer.benchmark_infer([case], batch=1, repeats=1, amp=amp, readout=readout)[case]
    assert set(ratios) == {"time: ours / timm", "operations: ours / timm", "time: ours / naive"}
    assert 0.5 < ratios["operations: ours / timm"] < 1.6  # one block of three more at most
    out = capsys.readouterr().out
    assert f"Inference, {case}, batch 1, read-out {readout}" in out
    assert all(f"| {way} " in out for way in ("ours", "timm, SA alone", "naive DCAL"))


def test_precision_that_the_processor_has_not(monkeypatch):
    monkeypatch.setattr(models, "has_half_precision", lambda device, dtype: False)
    with pytest.raises(InputError, match="--amp is bf16, but this processor has no instructions for it"):
        infer.benchmark_infer(["toy"], amp="bf16")


def test_the_cls_readout_costs_fewer_operations():
    cls, mean = (
        infer.benchmark_infer(["toy"], repeats=1, readout=readout)["toy"]["operations: ours / timm"]
        for readout in ("cls", "mean")
    )
    assert cls < mean


def test_wrong_input():
    with pytest.raises(InputError, match="unknown case 'vit-z'"):
        infer.benchmark_infer(["vit-z"])
    with pytest.raises(InputError, match="a batch of 0 images"):
        infer.benchmark_infer(["toy"], batch=0)


def test_command_line():
    parser = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "benchmark.py"))["parser"]()
    args = parser.parse_args(["infer", "--case", "demo", "--device", "cuda"])
    assert (args.benchmark, args.cases, args.device, args.readout) == (
        infer.benchmark_infer, ["demo"], "cuda", "mean",
    )  # fmt: skip
