"""The sparse parts of k-reciprocal re-ranking: reciprocal neighbours, their encoding, and its Jaccard similarity."""

import numpy as np
from scipy import sparse

from .scaled import ScaledFeatures, pair_distances
from .threads import for_blocks

__all__ = ["average_encoding", "encode", "expanded_neighbours", "jaccard_similarity"]


def expanded_neighbours(index: np.ndarray, size: int, half: int) -> sparse.csr_array:
    """R*(i, k1) of Zhong et al.: (N, N) with an entry where the column's item is in the set of the row's item.

    Two items are reciprocal neighbours if each is among the nearest of the other. The set of item i starts with its
    reciprocal neighbours among its ``size`` nearest. For each of these, its reciprocal neighbours among its ``half``
    nearest are added if more than two thirds of them are in the starting set.

    Args:
        index: (N, >= size) nearest neighbours of every item, including itself.
        size: k1 + 1.
        half: k1 / 2 + 1.
    """
    wide, narrow = index[:, :size], index[:, :half]
    wide_mutual, narrow_mutual = _mutual(wide), _mutual(narrow)

    def expand(start: int) -> np.ndarray:
        mine = slice(start, start + _ROWS)
        members, mutual = wide[mine], wide_mutual[mine]  # (B, K)
        row = np.arange(len(members))
        known = np.zeros((len(members), len(index)), dtype=bool)
        known[row[:, None], members] = mutual
        joining, valid = narrow[members], narrow_mutual[members]  # (B, K, H)
        shared = known[row[:, None, None], joining] & valid
        accepted = mutual & (shared.sum(2) > 2 / 3 * valid.sum(2))
        joins = accepted[:, :, None] & valid
        base = (start + row) * len(index)
        pairs = np.concatenate([(base[:, None] + members)[mutual], (base[:, None, None] + joining)[joins]])
        return np.unique(pairs)

    pairs = np.concatenate(for_blocks(expand, len(index), _ROWS))
    row, column = np.divmod(pairs, len(index))
    start = np.searchsorted(row, np.arange(len(index) + 1))
    return sparse.csr_array((np.ones(len(pairs)), column, start), shape=(len(index), len(index)))


def encode(items: ScaledFeatures, neighbours: sparse.csr_array, farthest: np.ndarray) -> sparse.csr_array:
    """exp(-distance / farthest) of every neighbour, rows normalised to sum to 1; distances are squared euclidean."""
    count = np.diff(neighbours.indptr)
    row, column = np.repeat(np.arange(len(count)), count), neighbours.indices.astype(np.int64)
    # Most pairs occur in both directions.
    pairs, where = np.unique(np.minimum(row, column) * len(items) + np.maximum(row, column), return_inverse=True)
    low, high = np.divmod(pairs, len(items))
    weight = np.exp(-pair_distances(items, low, items, high)[where] / farthest[row])
    total = np.bincount(row, weight, minlength=len(count))
    return sparse.csr_array((weight / total[row], column, neighbours.indptr), shape=neighbours.shape)


def average_encoding(encoding: sparse.csr_array, nearest: np.ndarray) -> sparse.csr_array:
    """Local query expansion: the mean encoding of the nearest neighbours (N, k2), including the item itself."""
    size = nearest.shape[1]
    start = np.arange(0, nearest.size + 1, size)
    choose = sparse.csr_array((np.full(nearest.size, 1 / size), nearest.reshape(-1), start), shape=encoding.shape)
    return choose @ encoding


def jaccard_similarity(encoding: sparse.csr_array, num_query: int) -> sparse.csr_array:
    """(Q, G) sum of minima / sum of maxima of the encodings of a query and a gallery item.

    If the two rows sum to s and t and their minima to m, their maxima sum to s + t - m. s and t are 1, except for items
    with so many copies that they are not among their own nearest neighbours.
    """
    gallery = encoding[num_query:].tocsc()  # for each item the gallery items that have it in their set
    num_gallery = gallery.shape[0]
    length, total = np.diff(gallery.indptr), encoding.sum(axis=1)

    def some(start: int) -> sparse.csr_array:
        mine = encoding[start : min(start + _QUERIES, num_query)]
        query = np.repeat(np.arange(mine.shape[0]), np.diff(mine.indptr))
        count = length[mine.indices]
        # Every entry of a query is combined with the whole column of its item.
        entry = np.repeat(gallery.indptr[mine.indices] - np.cumsum(count) + count, count) + np.arange(count.sum())
        smaller = np.minimum(gallery.data[entry], np.repeat(mine.data, count))
        pair = np.repeat(query * num_gallery, count) + gallery.indices[entry]
        minima = np.bincount(pair, smaller, minlength=mine.shape[0] * num_gallery)
        pair = np.flatnonzero(minima)
        minima = minima[pair]
        row, column = np.divmod(pair, num_gallery)
        maxima = total[start + row] + total[num_query + column] - minima
        return sparse.csr_array((minima / maxima, (row, column)), shape=(mine.shape[0], num_gallery))

    return sparse.vstack(for_blocks(some, num_query, _QUERIES), format="csr")


# The number of rows that one thread processes together.
_ROWS, _QUERIES = 256, 32


def _mutual(index: np.ndarray) -> np.ndarray:
    """(N, K) bool: whether item i is among the K nearest of its neighbour ``index[i, j]``."""

    def some(start: int) -> np.ndarray:
        mine = index[start : start + _ROWS]
        return (index[mine] == np.arange(start, start + len(mine))[:, None, None]).any(axis=2)

    return np.concatenate(for_blocks(some, len(index), _ROWS))
