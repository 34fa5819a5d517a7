"""How many negatives come before each positive: all that exact ranking needs.

A query has a handful of positives and thousands of negatives. Sorting them all to find the ranks of the positives is
the slow part of the usual evaluation; counting the negatives below the distance of each positive is enough.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .distances import Distances, Tile
from .matches import Matches
from .products import like

__all__ = ["CloserNegatives"]

# If a tile has more pairs than this to compare exactly, most features must be copies of each other.
_MANY = 2**16
# The number of distances that stay in the CPU's cache while they are examined.
_CACHED = 2**21


@dataclass
class _Unsure:
    """A row of a tile, its positives whose count is still uncertain, and the columns that could rank before them."""

    row: int
    positives: np.ndarray  # (p,)
    columns: np.ndarray  # (c,)
    values: np.ndarray  # (c,) the tile's distances


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
        """Add the counts of one tile."""
        start = self._start[tile.query.start : tile.query.stop + 1]
        mine = slice(start[0], start[-1])
        row = self._query[mine] - tile.query.start
        if len(row) == 0:
            return
        distance = _pick(tile.values, row, self._gallery[mine])
        # Both of the compared distances can be off by the slack.
        lower = _in_its_type(distance - 2 * tile.slack[row], tile.values)
        upper = _in_its_type(distance + 2 * tile.slack[row], tile.values)
        count = _count_on_cpu if isinstance(tile.values, np.ndarray) else _count_on_gpu
        below, unsure = count(tile.values, self._matches.of_queries(tile.query), start - start[0], lower, upper)
        self.count[mine] += below
        if unsure:
            self._settle(tile.query.start, start[0], unsure, lower, upper)

    def _settle(self, first_query: int, first_positive: int, unsure: list[_Unsure], lower, upper) -> None:
        """Compare exactly the distances that the tile cannot order."""
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
            # Distances below the window of a positive have already been counted.
            before &= (lower[of_row.positives, None] <= of_row.values) & (
                of_row.values <= upper[of_row.positives, None]
            )
            self.count[positives[p]] += np.count_nonzero(before, axis=1)


def _count_on_cpu(values, same_identity, start, lower, upper):
    """For each positive, count the negatives below its window and find the negatives inside it.

    Args:
        values: (B, G) distances.
        same_identity: (start, gallery) as ``Matches.of_queries`` returns it: the items of each row that are not
            negatives.
        start: (B + 1,) the positives of row i are start[i]:start[i + 1].
        lower, upper: (P,) the window of each positive.

    Returns:
        below: (P,) counts.
        unsure: list of _Unsure.
    """
    below, up_to, unsure = np.zeros(len(lower), dtype=np.int64), np.zeros(len(lower), dtype=np.int64), []
    same_start, same = same_identity
    some = np.diff(start) > 0
    farthest = np.full((len(values), 1), -np.inf, dtype=values.dtype)
    farthest[some, 0] = np.maximum.reduceat(upper, start[:-1][some])
    step = max(1, _CACHED // values.shape[1])
    for first in range(0, len(values), step):
        rows = values[first : first + step]
        near = rows <= farthest[first : first + step]  # beyond the farthest positive nothing matters
        bounds = same_start[first : first + len(rows) + 1]
        near[np.repeat(np.arange(len(rows)), np.diff(bounds)), same[bounds[0] : bounds[-1]]] = False
        flat = np.flatnonzero(near)
        kept = rows.reshape(-1)[flat]
        cuts = np.searchsorted(flat, np.arange(len(rows) + 1) * values.shape[1]).tolist()
        for row in range(len(rows)):
            mine = slice(start[first + row], start[first + row + 1])
            closest = np.sort(kept[cuts[row] : cuts[row + 1]])
            below[mine] = closest.searchsorted(lower[mine], "left")
            up_to[mine] = closest.searchsorted(upper[mine], "right")
        windows = start[first] + np.flatnonzero((up_to > below)[start[first] : start[first + len(rows)]])
        for row, positives in _by_row(windows, start):
            cut = slice(cuts[row - first], cuts[row - first + 1])
            columns = flat[cut] - (row - first) * values.shape[1]
            unsure.append(_look_up(row, columns, kept[cut], positives, lower, upper))
    return below, unsure


def _by_row(positives: np.ndarray, start: np.ndarray):
    """Group positives by row: (row, its positives) for each row that has any."""
    row = np.searchsorted(start, positives, "right") - 1
    first = np.flatnonzero(np.diff(row, prepend=-1))
    return zip(row[first].tolist(), np.split(positives, first[1:]), strict=True) if len(row) else ()


def _count_on_gpu(values, same_identity, start, lower, upper):
    """``_count_on_cpu`` with one sort of the whole tile, which is fast on a GPU."""
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
    for i, positives in _by_row(np.flatnonzero(inside), start):
        of_row = values[i].cpu().numpy()
        unsure.append(_look_up(i, np.arange(len(of_row)), of_row, positives, lower, upper))
    return below, unsure


def _look_up(row: int, columns: np.ndarray, values: np.ndarray, positives: np.ndarray, lower, upper) -> _Unsure:
    """The columns of one row whose value is in the window of at least one of these positives."""
    inside = np.zeros(len(values), dtype=bool)
    for low, high in set(zip(lower[positives].tolist(), upper[positives].tolist(), strict=True)):
        inside |= (low <= values) & (values <= high)
    return _Unsure(row, positives, columns[inside], values[inside])


def _pick(values, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n,) values[rows[k], columns[k]] in double precision."""
    picked = values[like(rows, values), like(columns, values)]
    return picked.astype(np.float64) if isinstance(picked, np.ndarray) else picked.double().cpu().numpy()


def _in_its_type(bound: np.ndarray, values) -> np.ndarray:
    """``bound`` in the tile's dtype. Rounding is monotonic, so the tile's values stay on their side of the bound."""
    return bound if values.dtype in (np.float64, torch.float64) else bound.astype(np.float32)
