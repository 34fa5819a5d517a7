import runpy
from pathlib import Path

import pytest

from dcal_reid.benchmark.export import benchmark_export
from dcal_reid.errors import InputError


def test_export(run_folder, monkeypatch, capsys):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    parser = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "benchmark.py"))["parser"]()
    weights = str(run_folder / "model_final.pth")
    options = vars(parser.parse_args(["export", "--weights", weights, "--device", "cpu", "--batch", "2"]))
    assert options.pop("benchmark") is benchmark_export
    (ratio,) = benchmark_export(**options | {"repeats": 1, "opts": ["MODEL.DCAL.INFERENCE", "sa"]}).values()
    assert ratio > 0
    out = capsys.readouterr().out
    assert "Inference, 64x32, batch 2, 1 threads" in out and "| PyTorch " in out and "| ONNX " in out


def test_wrong_input():
    with pytest.raises(InputError, match="--batch 0, --threads 1"):
        benchmark_export(batches=[4, 0])
