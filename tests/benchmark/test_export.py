import runpy
from pathlib import Path

import pytest

from dcal_reid.benchmark.export import benchmark_export
from dcal_reid.errors import InputError


@pytest.mark.usefixtures("half_precision")
def test_export(run_folder, monkeypatch, capsys):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    parser = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "benchmark.py"))["parser"]()
    weights = str(run_folder / "model_final.pth")
    options = vars(parser.parse_args(["export", "--weights", weights, "--device", "cpu", "--batch", "2"]))
    assert options.pop("benchmark") is benchmark_export
    overrides = ["MODEL.DCAL.INFERENCE", "sa", "SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bf16"]
    (ratio,) = benchmark_export(**options | {"repeats": 1, "opts": overrides}).values()
    assert ratio > 0
    out = capsys.readouterr().out
    assert "Inference, 64x32, batch 2, 1 threads" in out
    assert all(f"| {way} " in out for way in ("PyTorch", "ONNX", "PyTorch, SOLVER.AMP"))
    assert "is in fp32; PyTorch with SOLVER.AMP.ENABLED gives other features: 16 images: cosine at least 0.9" in out


def test_wrong_input():
    with pytest.raises(InputError, match="--batch 0, --threads 1"):
        benchmark_export(batches=[4, 0])
