from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dcal_reid.evaluation import ClassificationResult, DCALReidEvaluator


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, so that a test can look at their parts."""
    figures = []
    write = Figure.savefig

    def savefig(figure, *args, **kwargs):
        figures.append(figure)
        return write(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.fixture
def assert_legible():
    """Every title, label and caption lies inside the figure, and no two overlap."""

    def check(figure):
        texts = [figure._suptitle] if figure._suptitle else []
        for axes in figure.axes:
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            texts += axes.get_legend().get_texts() if axes.get_legend() else []
        boxes = {text: text.get_window_extent() for text in texts if text.get_text()}
        assert boxes
        for text, box in boxes.items():
            assert box.x0 >= 0 and box.y0 >= 0, text
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
        for one, other in combinations(boxes, 2):
            assert not boxes[one].overlaps(boxes[other]), (one, other)

    return check


@pytest.fixture
def evaluator(tiny_cfg, tmp_path):
    """Forty queries of twenty identities; query 0 has no match."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 20, 240)
    values = rng.standard_normal((20, 24))[pids] + 2 * rng.standard_normal((240, 24))
    pids[0] = 99
    evaluator = DCALReidEvaluator(tiny_cfg, num_query=40)
    paths = []
    for number in range(240):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (30, 50), (number, 0, 0)).save(paths[-1])
    labels = {"targets": pids, "camids": np.arange(240) % 3, "indices": np.arange(240), "img_paths": paths}
    evaluator.process(labels, torch.from_numpy(values))
    evaluator.evaluate()
    return evaluator


@pytest.fixture
def classified():
    """Six images of two classes, surest first; images 1, 3 and 4 are mistakes."""
    labels = np.array([0, 0, 1, 1, 0, 1])
    predicted = np.array([0, 1, 1, 0, 1, 1])[:, None]
    return ClassificationResult(
        labels=labels,
        predicted=predicted,
        rank=np.where(predicted == labels[:, None], 1, 2),
        top=np.hstack([predicted, 1 - predicted]),
        probabilities=np.array([[p, 1 - p] for p in (0.99, 0.9, 0.8, 0.7, 0.6, 0.5)], dtype=np.float32),
        paths=np.array([f"{number}.png" for number in range(6)]),
        class_names=("ant", "bee"),
    )
