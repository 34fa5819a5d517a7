"""How many negatives come before each positive: all that exact ranking needs.

A query has a handful of positives and thousands of negatives. Sorting them all to find the ranks of the positives is
the slow part of the usual evaluation; counting what lies below the distance of each positive is enough.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .distances import Distances, Tile
from .matches import Matches
from .products import like

__all__ = ["CloserNegatives"]

# More pairs than this to compare exactly in one tile: most features must be copies of each other.
_MANY = 2**16


@dataclass
class _Unsure:
    """One row of a tile, its positives whose count is not certain yet, and the columns that could be before them."""

    row: int
    positives: np.ndarray  # (p,)
    columns: np.ndarray  # (c,)
    values: np.ndarray  # (c,) those of the tile


class CloserNegatives:
    """Counts, tile by tile, the negatives before each positive: closer, or as close and earlier in the gallery.

    ``count`` has an entry for each positive, in the order of ``matches``. Junk is not counted.
    """

    def __init__(self, distances: Distances, matches: Matches):
        self._distances, self._matches = distances, matches
        self._query, self._gallery = matches.query[~matches.junk], matches.gallery[~matches.junk]
        self._start = np.concatenate([[0], np.cumsum(matches.count(~matches.junk))])
        self.count = np.zeros(len(self._gallery), dtype=np.int64)

    def add(self, tile: Tile) -> None:
        """Count in one tile."""
        start = self._start[tile.query.start : tile.query.stop + 1]
        mine = slice(start[0], start[-1])
        row = self._query[mine] - tile.query.start
        if len(row) == 0:
            return
        distance = _pick(tile.values, row, self._gallery[mine])
        # Either of two distances that are compared can be wrong by the slack.
        lower = _outwards(distance - 2 * tile.slack[row], tile.values, -np.inf)
        upper = _outwards(distance + 2 * tile.slack[row], tile.values, np.inf)
        count = _count_on_cpu if isinstance(tile.values, np.ndarray) else _count_on_gpu
        below, unsure = count(tile.values, self._matches.of_queries(tile.query), start - start[0], lower, upper)
        self.count[mine] += below
        if unsure:
            self._settle(tile.query.start, start[0], unsure, lower, upper)

    def _settle(self, first_query: int, first_positive: int, unsure: list[_Unsure], lower, upper) -> None:
        """Compare exactly what the tile could not tell apart."""
        positives = np.concatenate([of_row.positives for of_row in unsure]) + first_positive
        columns = np.concatenate([of_row.columns for of_row in unsure])
        queries = np.repeat([of_row.row + first_query for of_row in unsure], [len(of_row.columns) for of_row in unsure])
        between = self._distances.between if len(columns) < _MANY else self._distances.between_many
        distances = between(queries, columns)
        thresholds = self._distances.between(self._query[positives], self._gallery[positives])
        at, at_positive = 0, 0
        for of_row in unsure:
            p = slice(at_positive, at_positive + len(of_row.positives))
            c = slice(at, at + len(of_row.columns))
            at_positive, at = p.stop, c.stop
            distance, threshold = distances[c], thresholds[p, None]
            earlier = of_row.columns < self._gallery[positives[p], None]
            before = (distance < threshold) | ((distance == threshold) & earlier)
            # What is below the window of a positive has been counted already.
            before &= (lower[of_row.positives, None] <= of_row.values) & (
                of_row.values <= upper[of_row.positives, None]
            )
            self.count[positives[p]] += np.count_nonzero(before, axis=1)


def _count_on_cpu(values, same_identity, start, lower, upper):
    """For each positive how many negatives are below its window, and which negatives are in it.

    Args:
        values: (B, G) distances.
        same_identity: (start, gallery) of the items of each row that are no negatives.
        start: (B + 1,) the positives of row i are start[i]:start[i + 1].
        lower, upper: (P,) window of each positive.

    Returns:
        below: (P,) counts.
        unsure: list of _Unsure.
    """
    below, unsure = np.zeros(len(lower), dtype=np.int64), []
    same_start, same = same_identity
    near = np.empty(values.shape[1], dtype=bool)
    for row in np.flatnonzero(np.diff(start)):
        mine = slice(start[row], start[row + 1])
        of_row = values[row]
        np.less_equal(of_row, upper[mine].max(), out=near)  # beyond the farthest positive nothing matters
        near[same[same_start[row] : same_start[row + 1]]] = False
        closest = of_row[near]
        closest.sort()
        below[mine] = closest.searchsorted(lower[mine], "left")
        inside = closest.searchsorted(upper[mine], "right") > below[mine]
        if inside.any():
            unsure.append(_look_up(row, of_row, near, start[row] + np.flatnonzero(inside), lower, upper))
    return below, unsure


def _count_on_gpu(values, same_identity, start, lower, upper):
    """The same with one sort of the whole tile, which is what a GPU does best."""
    same_start, same = same_identity
    same_row = np.repeat(np.arange(len(values)), np.diff(same_start))
    values = values.index_put((like(same_row, values), like(same, values)), values.new_tensor(torch.inf))
    row = np.repeat(np.arange(len(values)), np.diff(start))
    place = np.arange(len(lower)) - start[row]

    def padded(bound):  # (B, most positives of a row)
        table = np.zeros((len(values), place.max() + 1), dtype=bound.dtype)
        table[row, place] = bound
        return like(table, values)

    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, padded(lower)).cpu().numpy()[row, place]
    inside = torch.searchsorted(ordered, padded(upper), right=True).cpu().numpy()[row, place] > below
    unsure = []
    for i in np.unique(row[inside]):
        of_row = values[int(i)].cpu().numpy()
        unsure.append(_look_up(i, of_row, np.isfinite(of_row), np.flatnonzero(inside & (row == i)), lower, upper))
    return below, unsure


def _look_up(row: int, values: np.ndarray, near: np.ndarray, positives: np.ndarray, lower, upper) -> _Unsure:
    """The columns of one row that are ``near`` and in the window of one of a few positives."""
    inside = np.zeros_like(near)
    for low, high in set(zip(lower[positives].tolist(), upper[positives].tolist(), strict=True)):
        inside |= (low <= values) & (values <= high)
    columns = np.flatnonzero(inside & near)
    return _Unsure(row, positives, columns, values[columns])


def _pick(values, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n,) values[rows[k], columns[k]] in double precision."""
    picked = values[like(rows, values), like(columns, values)]
    return picked.astype(np.float64) if isinstance(picked, np.ndarray) else picked.double().cpu().numpy()


def _outwards(bound: np.ndarray, values, direction: float) -> np.ndarray:
    """``bound`` in the type of the tile, rounded outwards where it must be rounded."""
    if values.dtype in (np.float64, torch.float64):
        return bound
    rounded = bound.astype(np.float32)
    inside = rounded > bound if direction < 0 else rounded < bound
    return np.where(inside, np.nextafter(rounded, np.float32(direction)), rounded)
