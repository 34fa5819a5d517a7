"""Verification: the true positive rate at low false positive rates."""

from dataclasses import dataclass

import numpy as np
import torch
from tabulate import tabulate

from ..errors import InputError
from .distances import Distances, Tile
from .matches import Matches
from .products import like

__all__ = ["ClosestNegatives", "RocCurve"]


@dataclass(frozen=True)
class RocCurve:
    """For each false positive rate, the largest true positive rate and the threshold that gives it.

    A pair of a query and a gallery item is accepted as one identity if its distance is *below* the threshold. The
    threshold accepts at most a share ``fpr`` of all negative pairs, and a share ``tpr`` of all positive pairs. Junk
    pairs do not count.
    """

    fpr: np.ndarray  # (F,) as requested
    tpr: np.ndarray  # (F,)
    threshold: np.ndarray  # (F,) cosine: 1 - cos; euclidean: the distance, not its square; inf: all are accepted
    num_positive_pairs: int
    num_negative_pairs: int

    def table(self) -> str:
        """A Markdown table with a row for each false positive rate."""
        rows = zip(100 * self.fpr, 100 * self.tpr, self.threshold, strict=True)
        return tabulate(
            rows, headers=["FPR (%)", "TPR (%)", "accept below"], tablefmt="pipe", floatfmt=("g", ".2f", ".4f")
        )

    def as_dict(self) -> dict:
        return {
            "fpr": self.fpr.tolist(),
            "tpr": self.tpr.tolist(),
            "threshold": [value if np.isfinite(value) else None for value in self.threshold.tolist()],
            "num_positive_pairs": self.num_positive_pairs,
            "num_negative_pairs": self.num_negative_pairs,
        }


# The number of pairs to collect before dropping those that are not needed.
_BUFFER = 2**20


class ClosestNegatives:
    """Collects, tile by tile, the closest negative pairs: those that a threshold could accept.

    For a false positive rate f only the closest share f of the negative pairs matters, so for f = 1e-2 only 1 % of them
    are kept. Each is kept as the interval that contains its exact distance.

    Raises:
        InputError: a false positive rate that is not between 0 and 1.
    """

    def __init__(self, distances: Distances, matches: Matches, fprs):
        for fpr in fprs:
            if not 0 <= fpr <= 1:
                raise InputError(f"a false positive rate must be between 0 and 1, not {fpr}")
        self._fprs = fprs
        self._distances, self._matches, self._num_gallery = distances, matches, matches.num_gallery
        self.num_pairs = matches.num_query * matches.num_gallery - len(matches.gallery)
        self._wanted = min(int(max(fprs) * self.num_pairs) + 1, self.num_pairs)
        self._kept = (np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))  # lower, upper, query * G + gallery
        self._new, self._limit = [], np.inf

    def add(self, tile: Tile) -> None:
        """Process one tile, a few rows at a time, because at first all pairs of the rows are kept for a moment."""
        step = max(1, _BUFFER // self._num_gallery)
        start, same = self._matches.of_queries(tile.query)
        for first in range(0, len(tile.values), step):
            rows = slice(first, min(first + step, len(tile.values)))
            bounds = start[rows.start : rows.stop + 1]
            not_negative = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)), same[bounds[0] : bounds[-1]]
            self._add_rows(tile.values[rows], tile.slack[rows], rows.start + tile.query.start, not_negative)

    def _add_rows(self, values, slack: np.ndarray, first_query: int, not_negative) -> None:
        near = values <= like((self._limit + slack)[:, None], values)
        near[tuple(like(index, values) for index in not_negative)] = False
        if isinstance(values, torch.Tensor):
            row, column = (index.cpu().numpy() for index in near.nonzero(as_tuple=True))
            value = values[near].double().cpu().numpy()
        else:
            row, column = np.divmod(np.flatnonzero(near), values.shape[1])
            value = values[row, column].astype(np.float64)
        pair = (row + first_query) * self._num_gallery + column
        self._new.append((value - slack[row], value + slack[row], pair))
        if sum(len(pair) for *_, pair in self._new) > max(self._wanted // 4, _BUFFER):
            self._shrink()

    def _shrink(self) -> None:
        """Drop the pairs that are certainly not needed."""
        lower, upper, pair = (np.concatenate(parts) for parts in zip(self._kept, *self._new, strict=True))
        self._new = []
        if len(pair) > self._wanted:
            self._limit = np.partition(upper, self._wanted - 1)[self._wanted - 1]
            near = lower <= self._limit
            lower, upper, pair = lower[near], upper[near], pair[near]
        if len(pair) > 2 * self._wanted + _BUFFER:
            # Most distances are nearly the same. Exact distances decide; among equal ones, any pair can be kept.
            lower[:] = upper[:] = self._distances.between_many(*np.divmod(pair, self._num_gallery))
            wanted = np.argpartition(lower, self._wanted - 1)[: self._wanted]
            lower, upper, pair = lower[wanted], upper[wanted], pair[wanted]
            self._limit = lower.max()
        self._kept = lower, upper, pair

    def curve(self) -> RocCurve:
        """The curve at ``fprs``."""
        self._shrink()
        chosen = ~self._matches.junk
        positive = np.sort(self._distances.between(self._matches.query[chosen], self._matches.gallery[chosen]))
        thresholds = np.array([self._exact(int(fpr * self.num_pairs)) for fpr in self._fprs])
        return RocCurve(
            fpr=np.array(self._fprs, dtype=np.float64),
            tpr=np.searchsorted(positive, thresholds, "left") / len(positive),
            threshold=self._distances.shown(thresholds),
            num_positive_pairs=len(positive),
            num_negative_pairs=self.num_pairs,
        )

    def _exact(self, k: int) -> float:
        """The exact distance of the negative pair with k closer ones: accepting pairs below it accepts at most k."""
        if k >= self.num_pairs:
            return np.inf
        lower, upper, pair = self._kept
        low, high = (np.partition(bound, k)[k] for bound in (lower, upper))  # it lies between these
        near = pair[(lower <= high) & (upper >= low)]
        between = self._distances.between_many if len(near) > _BUFFER else self._distances.between
        near = np.sort(between(*np.divmod(near, self._num_gallery)))
        return near[k - np.count_nonzero(upper < low)]
