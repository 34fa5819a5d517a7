"""How many negatives are closer to its query than each positive: all that exact ranking needs.

A query has a handful of positives and thousands of negatives. Sorting them all to find the ranks of the positives is
the slow part of the usual evaluation; counting what lies below the distance of each positive is enough.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .distances import Distances, Tile
from .matches import Matches

__all__ = ["CloserNegatives", "Positives"]


@dataclass(frozen=True)
class Positives:
    """The positives of every query from the closest to the farthest, ties by gallery position."""

    start: np.ndarray  # (Q + 1,) those of query i are start[i]:start[i + 1]
    query: np.ndarray  # (P,)
    gallery: np.ndarray  # (P,)
    distance: np.ndarray  # (P,) float64, exact

    @classmethod
    def of(cls, distances: Distances, matches: Matches) -> "Positives":
        chosen = ~matches.junk
        query, gallery = matches.query[chosen], matches.gallery[chosen]
        distance = distances.between(query, gallery)
        order = np.lexsort((gallery, distance, query))
        start = np.concatenate([[0], np.cumsum(matches.count(chosen))])
        return cls(start, query[order], gallery[order], distance[order])


class CloserNegatives:
    """Counts, tile by tile, the negatives that come before each positive: closer, or as close and earlier in the
    gallery. Junk is not counted.
    """

    def __init__(self, distances: Distances, positives: Positives):
        self._distances, self._positives = distances, positives
        self.count = np.zeros(len(positives.query), dtype=np.int64)

    def add(self, tile: Tile, masked_rows: np.ndarray, masked_columns: np.ndarray) -> None:
        """Count in one tile. The masked entries are the gallery items with the identity of the query of that row."""
        start = self._positives.start[tile.query.start : tile.query.stop + 1]
        lengths = np.diff(start)
        if start[0] == start[-1]:
            return
        distance = self._positives.distance[start[0] : start[-1]]
        threshold = distance - np.repeat(tile.offset, lengths)
        slack = np.repeat(tile.slack, lengths)
        lower = _round(threshold - slack, tile.values, -np.inf)
        upper = _round(threshold + slack, tile.values, np.inf)
        count = _count_on_cpu if isinstance(tile.values, np.ndarray) else _count_on_gpu
        below, unsure = count(tile.values, masked_rows, masked_columns, start - start[0], lower, upper)
        self.count[start[0] : start[-1]] += below
        for row, columns, values in unsure:
            self._settle(tile, row, columns, values, lower, upper)

    def _settle(self, tile, row, columns, values, lower, upper) -> None:
        """Compare exactly where the tile could not tell: ``values`` of ``columns`` lie in a window of this row."""
        first = self._positives.start[tile.query.start]
        mine = slice(self._positives.start[tile.query.start + row], self._positives.start[tile.query.start + row + 1])
        lower, upper = (bound[mine.start - first : mine.stop - first, None] for bound in (lower, upper))
        gallery = columns + tile.gallery.start
        exact = self._distances.between(np.full(len(gallery), tile.query.start + row), gallery)
        distance, position = self._positives.distance[mine, None], self._positives.gallery[mine, None]
        closer = (exact < distance) | ((exact == distance) & (gallery < position))
        self.count[mine] += np.count_nonzero(closer & (lower <= values) & (values <= upper), axis=1)


def _round(bound: np.ndarray, values, direction: float) -> np.ndarray:
    """``bound`` in the type of the tile, rounded outwards where it must be rounded."""
    if values.dtype in (np.float64, torch.float64):
        return bound
    rounded = bound.astype(np.float32)
    inside = rounded > bound if direction < 0 else rounded < bound
    return np.where(inside, np.nextafter(rounded, np.float32(direction)), rounded)


def _count_on_cpu(values, masked_rows, masked_columns, start, lower, upper):
    """For each window of each row how many values are below it, and which values are in one.

    Returns:
        below: (P,) counts.
        unsure: list of (row, columns, their values).
    """
    below, unsure = np.zeros(len(lower), dtype=np.int64), []
    masked = np.concatenate([[0], np.cumsum(np.bincount(masked_rows, minlength=len(values)))])
    near = np.empty(values.shape[1], dtype=bool)
    for row in np.flatnonzero(np.diff(start)):
        first, last = start[row], start[row + 1]
        np.less_equal(values[row], upper[last - 1], out=near)  # beyond the farthest positive nothing matters
        near[masked_columns[masked[row] : masked[row + 1]]] = False
        closest = values[row][near]
        if len(closest) == 0:
            continue
        closest.sort()
        low = closest.searchsorted(lower[first:last], "left")
        below[first:last] = low
        if np.any(closest.searchsorted(upper[first:last], "right") > low):
            columns = np.flatnonzero(near)
            unsure.append(_in_a_window(row, columns, values[row, columns], lower[first:last], upper[first:last]))
    return below, unsure


def _count_on_gpu(values, masked_rows, masked_columns, start, lower, upper):
    """The same with one sort of the whole tile, which is what a GPU does best."""
    device = values.device
    values[torch.from_numpy(masked_rows).to(device), torch.from_numpy(masked_columns).to(device)] = torch.inf
    lengths = np.diff(start)
    row, place = np.repeat(np.arange(len(lengths)), lengths), np.arange(len(lower)) - np.repeat(start[:-1], lengths)

    def padded(bound):  # (B, most positives of a row)
        table = np.zeros((len(lengths), lengths.max()), dtype=bound.dtype)
        table[row, place] = bound
        return torch.from_numpy(table).to(device)

    ordered = values.sort(dim=1).values
    low = torch.searchsorted(ordered, padded(lower)).cpu().numpy()
    high = torch.searchsorted(ordered, padded(upper), right=True).cpu().numpy()
    below, unsure = low[row, place], []
    for near in np.unique(row[high[row, place] > below]):
        of_row = values[int(near)].cpu().numpy()
        window = slice(start[near], start[near + 1])
        unsure.append(_in_a_window(near, np.arange(len(of_row)), of_row, lower[window], upper[window]))
    return below, unsure


def _in_a_window(row, columns, values, lower, upper):
    """Keep the values with lower[k] <= value <= upper[k] for some k; both bounds ascend."""
    window = upper.searchsorted(values, "left").clip(max=len(upper) - 1)
    inside = (lower[window] <= values) & (values <= upper[window])
    return row, columns[inside], values[inside]
