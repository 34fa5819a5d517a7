"""The confusion matrix of a classifier, and the pairs of classes that it confuses most."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import InputError
from .saving import DPI, save_picture

__all__ = ["draw_confusion"]

# In inches.
WIDTH, HEIGHT = 14.0, 7.0
# More classes than this are numbered: their names would overlap.
MOST_NAMED = 40
MOST_PAIRS = 12
# Characters of a class name on an axis and in a pair.
TICK_LENGTH, PAIR_LENGTH = 24, 28
EMPTY, BAR = "#d9d9d9", "#d7191c"


def draw_confusion(path: str | Path, counts: np.ndarray, class_names: Sequence[str], *, title: str = "") -> None:
    """The confusion matrix as a heat map, each row in percent, beside a list of the most confused pairs.

    Colours follow the square root, so that a few percent away from the diagonal can be seen. Up to 40 classes are
    named on the axes; more are numbered, as the picture says.

    Args:
        path: the picture to write; its suffix is the format.
        counts: (C, C) integers, images by [true class, predicted class].
        class_names: C texts.
        title: shown above everything.

    Raises:
        InputError: counts that are no confusion matrix, or another number of names.
    """
    counts = _check(np.asarray(counts), class_names)
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    matrix, pairs = figure.subplots(1, 2, width_ratios=[1.35, 1])
    _draw_matrix(figure, matrix, counts, class_names)
    _draw_pairs(pairs, counts, class_names)
    if title:
        figure.suptitle(title, fontsize=13, weight="bold")
    save_picture(figure, path)


def _check(counts: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iu" or counts.size == 0:
        raise InputError(f"counts are {counts.dtype} {counts.shape}; give integers (C, C) with C at least 1")
    if counts.min() < 0 or counts.sum() == 0:
        raise InputError(f"counts have the minimum {counts.min()} and the sum {counts.sum()}; give numbers of images")
    if len(class_names) != len(counts):
        raise InputError(f"there are {len(class_names)} class names for {len(counts)} classes; give one each")
    return counts


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
        names = [_cut(name, TICK_LENGTH) for name in class_names]
        size = min(9, 300 / len(counts))
        axes.set_xticks(range(len(counts)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(counts)), names, fontsize=size)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
        note = f" (0 to {len(counts) - 1} in the order of the classes, too many to name{note})"
    axes.set_xlabel("predicted class", fontsize=10)
    axes.set_ylabel("true class" + note, fontsize=10)


def _draw_pairs(axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    axes.set_title("most confused: true class → predicted class", fontsize=11)
    axes.set_axis_off()
    wrong = counts - np.diag(np.diag(counts))
    first = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(index), len(counts)) for index in first if wrong.flat[index]]
    # Every pair has the same height, few or many. The bars leave a quarter of the width for what is written after them.
    axes.set(xlim=(0, 1.25 * max(1, wrong.max())), ylim=(MOST_PAIRS, 0))
    if not pairs:
        axes.text(0, 0.5, "none: every image is right", fontsize=10, va="center")
    for row, (true, predicted) in enumerate(pairs):
        count = wrong[true, predicted]
        names = " → ".join(_cut(class_names[label], PAIR_LENGTH) for label in (true, predicted))
        axes.text(0, row + 0.33, names, fontsize=9, va="center")
        axes.barh(row + 0.72, count, 0.3, color=BAR)
        axes.text(count, row + 0.72, f"  {count} of {counts[true].sum()}", fontsize=9, va="center")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
