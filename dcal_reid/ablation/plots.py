"""Two plots of an ablation: the final metrics, and their curves during training."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.plot import save_figure
from .runs import Run

__all__ = ["draw_curves", "draw_metrics"]

# As many curves as can be told apart.
_MOST_CURVES = 10


def draw_metrics(rows: Sequence[dict], metrics: Sequence[str], repetitions: Sequence[str], path: Path) -> None:
    """The mean with the standard deviation as error bar, and every run as a dot."""
    width = max(4, 0.7 * len(rows) + 1.5)
    figure = Figure(figsize=(width * len(metrics), 3.5), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        names = [f"{metric} {repetition}" for repetition in repetitions]
        for x, row in enumerate(rows):
            values = [row[name] for name in names if row.get(name) is not None]
            axis.plot([x] * len(values), values, "o", color="tab:blue", alpha=0.4)
            if values:
                axis.errorbar(x, row[metric], row.get(f"{metric} std") or 0, fmt="_", color="black", ms=14, capsize=4)
        labels = [row["variant"].replace(",", "\n") for row in rows]
        axis.set_xticks(range(len(rows)), labels, rotation=30 if len(rows) < 20 else 90)
        axis.set(title=metric, xlim=(-0.5, len(rows) - 0.5))
        _percent(axis)
    save_figure(figure, path)


def draw_curves(of_variant: Mapping[str, Sequence[Run]], metric: str, path: Path) -> None:
    """The mean over seeds and folds at every evaluation; if there are many variants, only of the best."""
    curves = {}
    for variant, runs in of_variant.items():
        found = [curve for run in runs if run.results() is not None and (curve := run.curve(metric))]
        if found:
            curves[variant] = [
                (points[0][0], statistics.fmean(value for _, value in points)) for points in zip(*found, strict=False)
            ]
    best = sorted(curves, key=lambda variant: curves[variant][-1][1], reverse=True)[:_MOST_CURVES]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for variant in best:
        axis.plot(*zip(*curves[variant], strict=True), marker="o", ms=3, label=variant)
    axis.set(title=metric, xlabel="share of the training", xlim=(0, 1.02))
    _percent(axis)
    figure.legend(loc="outside right upper", fontsize="small")
    save_figure(figure, path)


def _percent(axis: Axes) -> None:
    axis.set_ylabel("%")
    axis.grid(alpha=0.3)
