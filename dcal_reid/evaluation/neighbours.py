"""The nearest neighbours of every feature among all features, and the distance to the farthest.

Re-ranking needs both for every item, which is by far its greatest cost. faiss only gives the neighbours, and computes
every product twice, once for each of its two items. Here a block of products serves both its rows and its columns.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from .products import Prepared, error_bound, squared_distances
from .scaled import ScaledFeatures, pair_distances

__all__ = ["Neighbours", "find_neighbours"]

# Candidates kept beyond the neighbours asked for, so that rounding errors cannot hide one of them.
_SPARE = 11
_FARTHEST = 4


@dataclass(frozen=True)
class Neighbours:
    """``index[i, :size]`` are the nearest neighbours of item i, including itself, for each requested size.

    The order of neighbours between two consecutive sizes is not specified.
    """

    index: np.ndarray  # (N, k) int64
    farthest: np.ndarray  # (N,) float64, exact squared distance to the farthest item


def find_neighbours(items: ScaledFeatures, sizes, device: str = "cpu", block: int = 2048) -> Neighbours:
    """Find the ``max(sizes)`` nearest neighbours of every item; among equally near ones, those that come first.

    Args:
        items: N features.
        sizes: the numbers of neighbours needed; numbers above N count as N.
        device: where the products are computed.
        block: items whose products are processed together; affects speed and memory, not the results.
    """
    sizes = sorted({min(size, len(items)) for size in sizes})
    prepared = items.prepared(items.centre(), torch.device(device))
    slack = 2 * error_bound(prepared, prepared)  # of the difference of two distances
    search = _search_on_cpu if isinstance(prepared.right, np.ndarray) else _search_on_gpu
    near, far = search(prepared, min(sizes[-1] + _SPARE, len(items)), min(_FARTHEST, len(items)), block)
    return Neighbours(_settle_nearest(items, near, slack, sizes), _settle_farthest(items, far, slack))


def _search_on_cpu(prepared: Prepared, num_near: int, num_far: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (N, num_near) and (N, num_far) as sorted keys, see :func:`_keys`."""
    blocks = [slice(start, min(start + block, len(prepared))) for start in range(0, len(prepared), block)]
    # First each block with itself: this gives each row a threshold that few of the other items pass.
    pairs = [(i, i) for i in blocks] + [(i, j) for n, i in enumerate(blocks) for j in blocks[n + 1 :]]
    near = np.full((len(prepared), num_near), _keys(np.float32(np.inf), 0), dtype=np.int64)
    far = np.zeros((len(prepared), num_far), dtype=np.int64)
    buffer = np.empty(min(block, len(prepared)) ** 2, dtype=np.float32)

    def look_at(tile: np.ndarray, rows: slice, columns: slice, axis: int) -> None:
        """Update the candidates of ``rows``, which lie along ``axis`` of the tile, with those of ``columns``."""
        if rows == columns:
            k, f = min(num_near, len(tile)) - 1, max(len(tile) - num_far, 0)
            closer = tile <= np.partition(tile, k, axis=1)[:, k, None]
            farther = tile >= np.partition(tile, f, axis=1)[:, f, None]
        else:
            # Ties with the last candidate can be dropped: see ``hidden`` in _settle_nearest and _settle_farthest.
            lines = (slice(None), None) if axis == 0 else (None, slice(None))
            closer, farther = tile < _values(near[rows, -1])[lines], tile > _values(far[rows, 0])[lines]
        _merge(near[rows], *_passing(tile, closer, axis, columns.start), slice(None, num_near))
        _merge(far[rows], *_passing(tile, farther, axis, columns.start), slice(-num_far, None))

    with ThreadPoolExecutor(2) as threads:
        for i, j in pairs:
            tile = squared_distances(prepared.left(i), prepared.right[j], buffer)
            sides = [(tile, i, j, 0)] if i == j else [(tile, i, j, 0), (tile, j, i, 1)]
            list(threads.map(lambda side: look_at(*side), sides))
    return near, far


def _passing(tile: np.ndarray, passes: np.ndarray, axis: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Line and key of the entries that pass, sorted by line; lines are rows (axis 0) or columns (axis 1)."""
    flat = np.flatnonzero(passes)
    row, column = np.divmod(flat, tile.shape[1])
    line, other = (row, column) if axis == 0 else (column, row)
    keys = _keys(tile.reshape(-1)[flat], other + first)
    if axis == 1:
        order = np.argsort(line.astype(np.int16 if tile.shape[1] < 2**15 else np.int64), kind="stable")
        line, keys = line[order], keys[order]
    return line, keys


def _merge(best: np.ndarray, line: np.ndarray, keys: np.ndarray, kept: slice) -> None:
    """Merge keys, given in ascending order of line, into the sorted keys of their lines; keep the lowest or highest."""
    if len(line) == 0:
        return
    start = np.flatnonzero(np.diff(line, prepend=-1))
    count = np.diff(start, append=len(line))
    filler = best.max() if kept.start is None else 0
    table = np.full((len(start), count.max()), filler, dtype=np.int64)
    table[np.repeat(np.arange(len(start)), count), np.arange(len(line)) - np.repeat(start, count)] = keys
    merged = np.concatenate([best[line[start]], table], axis=1)
    merged.sort(axis=1)
    best[line[start]] = merged[:, kept]


def _search_on_gpu(prepared: Prepared, num_near: int, num_far: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """``_search_on_cpu`` with whole rows: on a GPU both products and sorting are cheap."""
    near, far = [], []
    for start in range(0, len(prepared), block):
        tile = squared_distances(prepared.left(slice(start, start + block)), prepared.right)
        for kept, count, largest in ((near, num_near, False), (far, num_far, True)):
            values, index = tile.topk(count, dim=1, largest=largest)
            kept.append(np.sort(_keys(values.cpu().numpy(), index.cpu().numpy()), axis=1))
    return np.concatenate(near), np.concatenate(far)


def _settle_nearest(items: ScaledFeatures, keys: np.ndarray, slack: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Compare exactly where a rounding error could change which items are among the nearest."""
    values, index = _values(keys), _positions(keys)
    unsure, hidden = np.zeros(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)
    for size in sizes:
        if size < keys.shape[1]:
            unsure |= values[:, size] - values[:, size - 1] <= slack
    if keys.shape[1] < len(items):
        hidden = values[:, -1] - values[:, sizes[-1] - 1] <= slack
    rows = np.flatnonzero(unsure & ~hidden)
    candidates = index[rows]
    exact = pair_distances(items, np.repeat(rows, candidates.shape[1]), items, candidates.reshape(-1))
    order = np.lexsort((candidates, exact.reshape(candidates.shape)), axis=1)
    index[rows] = np.take_along_axis(candidates, order, axis=1)
    if hidden.any():
        # More items may be equally near than candidates were kept. Copies of one feature have the same neighbours.
        everything = np.arange(len(items))
        for copy in np.unique(items.first_copy[hidden]):
            exact = pair_distances(items, np.full(len(items), copy), items, everything)
            nearest = np.argsort(exact, kind="stable")[: keys.shape[1]]
            index[hidden & (items.first_copy == copy)] = nearest
    return index[:, : sizes[-1]]


def _settle_farthest(items: ScaledFeatures, keys: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Compare exactly the candidates whose order a rounding error could have changed."""
    values, index = _values(keys), _positions(keys)
    farthest = index[:, -1].copy()
    limit = values[:, -1] - slack
    if keys.shape[1] < len(items):
        # More items may be equally far than candidates were kept, such as copies of one image unlike all others.
        hidden = np.flatnonzero(values[:, 0] >= limit)
        if len(hidden):
            rows, copy = np.unique(items.first_copy[hidden], return_inverse=True)
            blocks = [_farthest_in_double_precision(items, rows[i : i + 64]) for i in range(0, len(rows), 64)]
            farthest[hidden] = np.concatenate(blocks)[copy]
    row, place = np.nonzero(values >= limit[:, None])
    exact = pair_distances(items, row, items, index[row, place])
    exact = np.maximum.reduceat(exact, np.flatnonzero(np.diff(row, prepend=-1)))
    return np.maximum(exact, pair_distances(items, np.arange(len(items)), items, farthest))


def _farthest_in_double_precision(items: ScaledFeatures, rows: np.ndarray) -> np.ndarray:
    """The position of the item farthest from each of these rows."""
    centre, best, position = items.centre(), np.full(len(rows), -1.0), np.zeros(len(rows), dtype=np.int64)
    some = items[rows] - centre
    for start in range(0, len(items), 4096):
        others = items[slice(start, start + 4096)] - centre
        distances = np.einsum("ij,ij->i", others, others) - 2 * some @ others.T
        distances += np.einsum("ij,ij->i", some, some)[:, None]
        index = distances.argmax(axis=1)
        value = distances[np.arange(len(rows)), index]
        position = np.where(value > best, index + start, position)
        best = np.maximum(value, best)
    return position


# A candidate is one integer: the bits of its distance, which are in the same order as distances, then its position.
# Sorting the integers sorts by distance, with ties ordered by position.


def _keys(values: np.ndarray, position) -> np.ndarray:
    return np.maximum(values, 0).astype(np.float32).view(np.int32).astype(np.int64) << 32 | position


def _values(keys: np.ndarray) -> np.ndarray:
    return (keys >> 32).astype(np.int32).view(np.float32)


def _positions(keys: np.ndarray) -> np.ndarray:
    return keys & 0xFFFFFFFF
