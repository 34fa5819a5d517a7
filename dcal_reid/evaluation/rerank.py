"""k-reciprocal re-ranking (Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017).

The distance of a query to a gallery item becomes

    (1 - lambda) Jaccard distance of their neighbourhoods + lambda d / d_max,

where d is the squared euclidean distance and d_max the query's squared distance to the farthest of all queries and
gallery items. Everything but the products is sparse.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from .distances import Distances, Tile
from .neighbours import find_neighbours
from .products import error_bound, like, squared_distances
from .reciprocal import average_encoding, encode, expanded_neighbours, jaccard_similarity
from .scaled import ScaledFeatures, pair_distances

__all__ = ["RerankOptions", "RerankedDistances"]


@dataclass(frozen=True)
class RerankOptions:
    """``k1``: neighbours in the reciprocal sets; ``k2``: encodings to average (1: none); ``weight``: lambda.

    Raises:
        InputError: an invalid value.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self):
        if self.k1 < 1 or self.k2 < 1:
            raise InputError(f"re-ranking needs k1 and k2 of at least 1, not {self.k1} and {self.k2}")
        if not 0 <= self.weight <= 1:
            raise InputError(f"lambda of re-ranking must be between 0 and 1, not {self.weight}")


class RerankedDistances(Distances):
    """Re-ranked distances of the queries to the gallery, tile by tile.

    Args:
        features: (Q + G, D), queries first.
        num_query: Q.
        options: k1, k2, lambda.
        metric: ``cosine`` or ``euclidean``, for neighbours and d; with cosine, features are scaled to length 1 first.
        device, block: see :class:`~dcal_reid.evaluation.distances.FeatureDistances`.

    Raises:
        InputError: features that cannot be used.
    """

    def __init__(
        self, features, num_query: int, options: RerankOptions, metric: str = "cosine", device: str = "cpu",
        block: int = 256,
    ):  # fmt: skip
        self._items = ScaledFeatures(features, metric)
        self.num_query, self.num_gallery = num_query, len(self._items) - num_query
        self._weight, self._device, self._block = options.weight, torch.device(device), block
        half = int(np.around(options.k1 / 2))
        neighbours = find_neighbours(self._items, (options.k2, half + 1, options.k1 + 1), device)
        # If all items are the same feature, avoid a division by 0.
        self._farthest = np.where(neighbours.farthest > 0, neighbours.farthest, 1.0)
        sets = expanded_neighbours(neighbours.index, options.k1 + 1, half + 1)
        encoding = encode(self._items, sets, self._farthest)
        if options.k2 > 1:
            encoding = average_encoding(encoding, neighbours.index[:, : options.k2])
        similarity = jaccard_similarity(encoding, num_query)
        # Sorted by row * G + column, the position of a pair in a tile and in the list.
        self._start, self._similarity = similarity.indptr, similarity.data
        row = np.repeat(np.arange(num_query), np.diff(similarity.indptr))
        self._pair = row * self.num_gallery + similarity.indices

    def between(self, query, gallery):
        distance = pair_distances(self._items, query, self._items, gallery + self.num_query) / self._farthest[query]
        pair = query * self.num_gallery + gallery
        place = np.searchsorted(self._pair, pair).clip(max=max(len(self._pair) - 1, 0))
        found = self._pair[place] == pair if len(self._pair) else np.zeros(len(pair), dtype=bool)
        similarity = np.zeros(len(pair))
        similarity[found] = self._similarity[place[found]]
        return (1 - self._weight) * (1 - similarity) + self._weight * distance

    def tiles(self):
        items = self._items.prepared(self._items.centre(), self._device)
        buffer = np.empty(self._block * self.num_gallery if self._device.type == "cpu" else 0, dtype=np.float32)
        scale = self._weight / self._farthest[: self.num_query]
        slack = scale * error_bound(items, items)[: self.num_query]
        slack += 2.0**-21  # the three operations below, on numbers up to 1
        for start in range(0, self.num_query, self._block):
            rows = slice(start, min(start + self._block, self.num_query))
            values = squared_distances(items.left(rows), items.right[self.num_query :], buffer)
            values *= like(scale[rows, None].astype(np.float32), values)
            values += 1 - self._weight
            entries = slice(self._start[rows.start], self._start[rows.stop])
            similarity = ((1 - self._weight) * self._similarity[entries]).astype(np.float32)
            values.reshape(-1)[like(self._pair[entries] - start * self.num_gallery, values)] -= like(similarity, values)
            yield Tile(rows, values, slack[rows])
