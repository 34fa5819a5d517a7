from types import SimpleNamespace

import pytest

from dcal_reid.ablation import plots
from dcal_reid.ablation.plots import draw_curves, draw_metrics


@pytest.fixture
def figures(monkeypatch):
    """The saved figures, in order."""
    saved = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: saved.append(figure))
    return saved


def run(*values, complete=True):
    points = [((number + 1) / len(values), value) for number, value in enumerate(values)]
    return SimpleNamespace(results=lambda: {"mAP": values[-1]} if complete else None, curve=lambda metric: points)


def test_curves_are_the_means_of_the_complete_runs_and_of_the_best_variants(figures, monkeypatch):
    monkeypatch.setattr(plots, "_MOST_CURVES", 2)
    of_variant = {
        "worst": [run(90.0, 10.0)],
        "second": [run(20.0, 40.0), run(0.0, 0.0, complete=False)],
        "best": [run(10.0, 60.0), run(30.0, 40.0)],
        "unfinished": [run(99.0, 99.0, complete=False)],
    }
    draw_curves(of_variant, "mAP", "curves.png")
    [axis] = figures[0].axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert drawn == {"best": [[0.5, 20.0], [1.0, 50.0]], "second": [[0.5, 20.0], [1.0, 40.0]]}
    assert list(drawn) == ["best", "second"]


def test_metrics_are_every_run_with_their_mean_and_deviation(figures):
    rows = [
        {"variant": "a", "mAP": 30.0, "mAP std": 3.0, "mAP seed 0": 27.0, "mAP seed 1": 33.0},
        {"variant": "b", "mAP": 50.0, "mAP std": None, "mAP seed 0": None, "mAP seed 1": 50.0},
    ]
    draw_metrics(rows, ["mAP"], ["seed 0", "seed 1"], "plot.png")
    [axis] = figures[0].axes
    dots = [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == "o"]
    assert dots == [[[0.0, 27.0], [0.0, 33.0]], [[1.0, 50.0]]]
    bars = [bar.get_segments()[0].tolist() for container in axis.containers for bar in container.lines[2]]
    assert bars == [[[0.0, 27.0], [0.0, 33.0]], [[1.0, 50.0], [1.0, 50.0]]]
