"""The benchmark of re-ranking at a toy size: that it runs, compares the same things, and prints what it should."""

import re

import numpy as np
import pytest

from dcal_reid.benchmark import rerank, synthetic
from dcal_reid.errors import InputError
from dcal_reid.evaluation.ranking import rank_matrix
from dcal_reid.evaluation.rerank import RerankOptions

pytestmark = pytest.mark.usefixtures("toy")


def test_rerank(capsys):
    ratios = rerank.benchmark_rerank("toy", dim=32, repeats=1, dense=True)
    assert set(ratios) == {
        "ours", "neighbour products alone", "neighbours by faiss (Flat) alone", "fast-reid, dense",
    }  # fmt: skip
    assert "Re-ranking, 60 x 700, 32-d, mAP 0." in capsys.readouterr().out


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="'cuda' but PyTorch finds no GPU"):
        rerank.benchmark_rerank("toy", dim=32, device="cuda")


def test_ours_and_fast_reids_are_re_ranked_alike(capsys):
    rerank.benchmark_rerank("toy", dim=32, repeats=1)
    data, options = synthetic.synthetic("toy", 32), RerankOptions()
    unit = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)
    before = rank_matrix(1 - unit[data.query] @ unit[data.gallery].T, *data.labels).mAP
    after = rank_matrix(rerank._dense(unit, data, options), *data.labels).mAP
    printed = re.search(r"mAP (\S+) -> (\S+)", capsys.readouterr().out).groups()
    assert [float(figure) for figure in printed] == pytest.approx([before, after], abs=6e-4)
    assert after > before + 0.05
