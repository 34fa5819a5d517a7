"""Plot CMC, AP, ROC and distances of an evaluation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import InputError
from ..files import check_writable, written_atomically
from .distances import Distances
from .matches import Matches
from .result import RankingResult

__all__ = ["PairSample", "draw_curves", "prepare_picture_path", "sample_pairs", "save_figure"]

_POSITIVE, _NEGATIVE = "#1f5fb4", "#d7191c"
_BINS = 60


@dataclass(frozen=True)
class PairSample:
    """Distances of pairs of a query and a gallery item, without junk, in displayed form (``Distances.shown``)."""

    positive: np.ndarray  # (p,) ascending
    negative: np.ndarray  # (n,) ascending
    num_positive: int  # how many pairs there are
    num_negative: int

    def tpr(self, fpr: np.ndarray) -> np.ndarray:
        """The share of positive pairs closer than the threshold that accepts at most the share ``fpr`` of negative
        pairs. Equal to ``RocCurve.tpr`` if the sample contains all pairs."""
        threshold = np.append(self.negative, np.inf)[np.floor(np.asarray(fpr) * len(self.negative)).astype(int)]
        return np.searchsorted(self.positive, threshold, "left") / len(self.positive)


def sample_pairs(distances: Distances, matches: Matches, most: int = 100_000, seed: int = 0) -> PairSample:
    """Distances of at most ``most`` positive pairs, and of the negative pairs among ``most`` pairs drawn at random.

    All pairs are equally likely, and none is drawn twice. Memory does not grow with queries times gallery.
    """
    rng = np.random.default_rng(seed)
    positives = np.flatnonzero(~matches.junk)
    place = positives[_some(rng, len(positives), most)]
    num_pairs, num_gallery = matches.num_query * matches.num_gallery, matches.num_gallery
    pairs = _some(rng, num_pairs, most)
    pairs = pairs[~np.isin(pairs, matches.query * num_gallery + matches.gallery)]
    positive, negative = (
        np.sort(distances.shown(distances.between(query, gallery)))
        for query, gallery in ((matches.query[place], matches.gallery[place]), np.divmod(pairs, num_gallery))
    )
    return PairSample(positive, negative, len(positives), num_pairs - len(matches.gallery))


def _some(rng: np.random.Generator, number: int, most: int) -> np.ndarray:
    return np.arange(number) if number <= most else rng.choice(number, most, replace=False, shuffle=False)


def draw_curves(result: RankingResult, path: str | Path, pairs: PairSample | None = None) -> None:
    """Draw the CMC, the AP of all queries from best to worst, the ROC, and the distances of positive and of negative
    pairs.

    Args:
        result: with or without a ROC.
        path: the picture to write; its suffix sets the format.
        pairs: the pairs whose distances and finer ROC are drawn. None: neither is drawn.
    """
    draw = [_draw_cmc, _draw_ap]
    if result.roc is not None or (pairs is not None and len(pairs.negative)):
        draw.append(_draw_roc)
    if pairs is not None:
        draw.append(_draw_distances)
    rows = 2 if len(draw) == 4 else 1
    columns = len(draw) // rows
    figure = Figure(figsize=(4 * columns + (rows - 1) * 2, 3.5 * rows), layout="constrained")
    for function, axes in zip(draw, figure.subplots(rows, columns).flat, strict=True):
        function(axes, result, pairs)
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _draw_cmc(axes: Axes, result: RankingResult, pairs: PairSample | None) -> None:
    cmc = 100 * result.cmc(min(50, result.num_gallery))
    axes.plot(np.arange(1, len(cmc) + 1), cmc, marker="o", markersize=3)
    axes.set(title=f"CMC, Rank-1 {cmc[0]:.1f} %", xlabel="rank", ylabel="queries answered (%)", ylim=(0, 101))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_ap(axes: Axes, result: RankingResult, pairs: PairSample | None) -> None:
    ap = 100 * np.sort(result.ap[result.answered])[::-1]
    axes.plot(100 * np.arange(1, len(ap) + 1) / len(ap), ap)
    axes.set(title=f"AP, mean {100 * result.mAP:.1f} %", xlabel="queries (%)", ylabel="AP (%)", ylim=(0, 101))


def _draw_roc(axes: Axes, result: RankingResult, pairs: PairSample | None) -> None:
    title, sampled = "ROC", pairs is not None and len(pairs.negative) > 0
    if sampled:
        fpr = np.geomspace(1 / len(pairs.negative), 1, 400)
        axes.plot(100 * fpr, 100 * pairs.tpr(fpr))
        title += f", TPR {100 * float(pairs.tpr(0.01)):.1f} % at FPR 1 %"
    if result.roc is not None:
        line = "none" if sampled else "-"
        axes.plot(100 * result.roc.fpr, 100 * result.roc.tpr, marker="o", linestyle=line, color="C0")
    axes.set(title=title, xlabel="false positive rate (%)", ylabel="true positive rate (%)", ylim=(0, 101))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _draw_distances(axes: Axes, result: RankingResult, pairs: PairSample) -> None:
    kinds = (
        ("positive", pairs.positive, pairs.num_positive, _POSITIVE),
        ("negative", pairs.negative, pairs.num_negative, _NEGATIVE),
    )
    every = np.concatenate([pairs.positive, pairs.negative])
    edges = np.histogram_bin_edges(every, _BINS)
    for name, values, number, colour in kinds:
        if not len(values):
            continue
        of = f"{number:,}" if len(values) == number else f"{len(values):,} of {number:,}"
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.55, label=f"{name}, {of} pairs")
    axes.set(title="distances", xlabel="distance", ylabel="share of the pairs (%)")
    # Space for the legend above the highest bar, so that it hides none.
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])
    axes.legend(loc="upper left", fontsize=8)


def prepare_picture_path(path: str | Path) -> None:
    """Check that a picture can be written later, and create its folder.

    Raises:
        InputError: a suffix that is not a picture format, or a folder that cannot be created.
        OSError: the picture cannot be written there.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in formats:
        raise InputError(f"{str(path)!r} is not the name of a picture; end it in .png, .pdf or .svg")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder of {str(path)!r} cannot be made: {error.strerror}") from error
    check_writable(path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a picture, completely or not at all; the suffix of ``path`` sets the format."""
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:].lower())
