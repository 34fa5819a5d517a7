"""The confusion matrix of a classifier, and the pairs of classes that it confuses most."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation import ClassificationResult
from ..text import shortened
from .saving import DPI, save_picture

__all__ = ["draw_confusion"]

# In inches.
WIDTH, HEIGHT = 14.0, 7.0
# More classes than this are numbered, because their names would overlap.
MOST_NAMED = 40
MOST_PAIRS = 12
# Characters of a class name on an axis and in a pair.
TICK_LENGTH, PAIR_LENGTH = 24, 28
EMPTY, BAR, REVERSE = "#d9d9d9", "#d7191c", "#f4a09c"


def draw_confusion(path: str | Path, result: ClassificationResult, *, title: str = "") -> None:
    """The confusion matrix as a heat map, each row in percent, beside a list of the most confused pairs.

    Colours follow the square root, so that a few percent off the diagonal can be seen. Up to 40 classes are
    named on the axes; more are numbered, as the picture says. The pairs are those of ``result.most_confused``, with the
    mistakes of the rarer direction in a lighter red.

    Args:
        path: the picture to write; its suffix is the format.
        result: of at least one image.
        title: shown above everything.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    matrix, pairs = figure.subplots(1, 2, width_ratios=[1.35, 1])
    _draw_matrix(figure, matrix, result.confusion(), result.class_names)
    _draw_pairs(pairs, result)
    if title:
        figure.suptitle(title, fontsize=13, weight="bold")
    save_picture(figure, path)


def _draw_matrix(figure: Figure, axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    # A class without a test image has no percentages.
    percent = np.ma.masked_invalid(np.where(totals > 0, 100 * counts / np.maximum(totals, 1), np.nan))
    image = axes.imshow(percent, cmap="magma_r", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    axes.set_facecolor(EMPTY)
    scale = figure.colorbar(image, ax=axes, fraction=0.04, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    scale.set_label("share of the true class (%), colours by square root", fontsize=9)

    right, total = np.trace(counts), counts.sum()
    axes.set_title(f"{100 * right / total:.1f} % of {total} images right", fontsize=11)
    note = "" if totals.all() else "; grey: no test image"
    if len(counts) <= MOST_NAMED:
        names = [shortened(name, TICK_LENGTH) for name in class_names]
        size = min(9, 300 / len(counts))
        axes.set_xticks(range(len(counts)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(counts)), names, fontsize=size)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
        note = f" (0 to {len(counts) - 1} in the order of the classes, too many to name{note})"
    axes.set_xlabel("predicted class", fontsize=10)
    axes.set_ylabel("true class" + note, fontsize=10)


def _draw_pairs(axes: Axes, result: ClassificationResult) -> None:
    axes.set_title("most confused, both ways: true class → predicted class", fontsize=11)
    axes.set_axis_off()
    pairs, images = result.most_confused(MOST_PAIRS), np.bincount(result.labels, minlength=len(result.class_names))
    # Every pair has the same height, however many there are. The bars leave half of the width for the text after them.
    most = max((pair.count + pair.reverse for pair in pairs), default=1)
    axes.set(xlim=(0, 2 * most), ylim=(MOST_PAIRS, 0))
    if not pairs:
        axes.text(0, 0.5, "none: every image is right", fontsize=10, va="center")
    for row, pair in enumerate(pairs):
        names = " → ".join(shortened(result.class_names[label], PAIR_LENGTH) for label in (pair.true, pair.predicted))
        axes.text(0, row + 0.33, names, fontsize=9, va="center")
        axes.barh(row + 0.72, [pair.count, pair.reverse], 0.3, left=[0, pair.count], color=[BAR, REVERSE])
        text = f"  {pair.count} of {images[pair.true]}"
        if pair.reverse:
            text += f", the other way {pair.reverse} of {images[pair.predicted]}"
        axes.text(pair.count + pair.reverse, row + 0.72, text, fontsize=9, va="center")
