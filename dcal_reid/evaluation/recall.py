"""Recall of an approximate search: how many of the exact nearest items it finds."""

import faiss
import numpy as np

from .faiss_threads import one_thread_on_macos
from .gallery import Gallery
from .scaled import ScaledFeatures, pair_distances

__all__ = ["exact_nearest", "recall_at"]

_BLOCK = 2**16
_QUERIES = 1000


def recall_at(k: int, gallery: Gallery, features) -> float:
    """The share of the exact ``k`` nearest items that are among the ``k`` that ``gallery`` finds.

    The queries are some of the gallery's own items, evenly spread; a query itself does not count as a hit. Among
    equally near items, such as copies of one image, any is accepted.

    Args:
        features: (n, D) of all items of the gallery, in the order of their ids, which are 0 to n - 1.
    """
    queries = np.unique(np.linspace(0, len(features) - 1, _QUERIES).astype(np.int64))
    k = min(k, len(features) - 1)
    if k < 1:
        return 1.0
    items = ScaledFeatures(features, gallery.metric)
    expected = exact_nearest(items, queries, k + 1)
    found = gallery.search(np.asarray(features)[queries], k + 1).ids
    shared = 0
    for query, wanted, got in zip(queries, expected, found, strict=True):
        wanted, got = wanted[wanted != query][:k], got[(got != query) & (got >= 0)][:k]
        near, found_at = (pair_distances(items, np.full(len(ids), query), items, ids) for ids in (wanted, got))
        shared += np.count_nonzero(found_at <= near.max())
    return shared / (k * len(queries))


@one_thread_on_macos
def exact_nearest(items: ScaledFeatures, queries: np.ndarray, k: int) -> np.ndarray:
    """(q, k) positions of the items nearest to some of them, by an exact search in blocks with little copying."""
    distances, ids = [], []
    some = items[queries].astype(np.float32)
    for start in range(0, len(items), _BLOCK):
        block = items[slice(start, start + _BLOCK)].astype(np.float32)
        d, i = faiss.knn(some, block, min(k, len(block)))
        distances.append(d)
        ids.append(i + start)
    distances, ids = np.concatenate(distances, axis=1), np.concatenate(ids, axis=1)
    return np.take_along_axis(ids, np.argsort(distances, axis=1, kind="stable")[:, :k], axis=1)
