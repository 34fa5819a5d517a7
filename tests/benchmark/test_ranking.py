"""The benchmark of ranking at a toy size: that it runs, compares the same things, and prints what it should."""

import pytest

from dcal_reid.benchmark import ranking
from dcal_reid.errors import InputError

pytestmark = pytest.mark.usefixtures("toy")


def test_ranking(capsys, monkeypatch):
    from fastreid.evaluation.rank import evaluate_py

    monkeypatch.setattr(ranking, "compiled_ranking", lambda: lambda *args: evaluate_py(*args, False))
    ratios = ranking.benchmark_ranking("toy", dim=32, repeats=1)
    assert set(ratios) == {"ours / products", "fast-reid, Cython / ours", "fast-reid, Python / ours"}
    out = capsys.readouterr().out
    assert "From features to metrics, 60 x 700, 32-d, mAP 0." in out
    assert "products alone" in out and "fast-reid, Python" in out
    assert out.count("difference of mAP") == 2
    assert all(float(line.split(": ")[1]) < 1e-6 for line in out.splitlines() if line.startswith("difference"))


def test_a_ranking_that_cannot_be_compiled_is_told_before_anything_is_measured(monkeypatch):
    def compiled():
        raise InputError("it needs pip install cython")

    monkeypatch.setattr(ranking, "compiled_ranking", compiled)
    monkeypatch.setattr(ranking, "synthetic", lambda *args: pytest.fail("made features"))
    with pytest.raises(InputError, match="cython"):
        ranking.benchmark_ranking("toy", dim=32)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="'cuda' but PyTorch finds no GPU"):
        ranking.benchmark_ranking("toy", dim=32, device="cuda")


def test_without_fast_reid_there_is_no_matrix(capsys, monkeypatch):
    monkeypatch.setattr(ranking, "_from_matrix", lambda *args: pytest.fail("made it"))
    assert set(ranking.benchmark_ranking("toy", dim=32, repeats=1, fastreid=False)) == {"ours / products"}
    assert "From features to metrics" in capsys.readouterr().out
