"""Distances between queries and gallery: exact where it matters, fast where it does not.

The results of a single-precision matrix product depend slightly on block size, number of threads and device, and ranks
would depend on them, too. So the product only decides which distances are certainly smaller than a given one. The few
that are too close to decide are recomputed pair by pair in double precision, always in the same order of operations.
Ranks are therefore those of the exact distances, however the product was computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from .products import error_bound, squared_distances
from .scaled import ScaledFeatures, pair_distances

__all__ = ["Distances", "FeatureDistances", "MatrixDistances", "Tile"]


@dataclass
class Tile:
    """Distances of some queries to the whole gallery.

    ``values[i, j]`` is within ``slack[i]`` of the exact distance. ``values`` is valid only until the next tile and must
    not be written to.
    """

    query: slice
    values: np.ndarray | torch.Tensor  # (B, G), an array on the CPU, a tensor elsewhere
    slack: np.ndarray  # (B,) float64


class Distances:
    """The interface that ranking needs. Subclasses define where the distances come from."""

    num_query: int
    num_gallery: int

    def between(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """The exact distances of n pairs, given by positions (n,) and (n,), as float64 (n,)."""
        raise NotImplementedError

    def between_many(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """``between`` for so many pairs that most features must be copies of each other."""
        return self.between(query, gallery)

    def tiles(self) -> Iterator[Tile]:
        """Tiles that together contain every pair of a query and a gallery item once."""
        raise NotImplementedError

    def nearest(self, query: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` gallery items nearest to one query, with ties ordered by position, and their exact distances."""
        gallery = np.arange(self.num_gallery)
        distance = self.between(np.full(self.num_gallery, query), gallery)
        order = np.argsort(distance, kind="stable")[:k]
        return order, distance[order]

    def shown(self, distance: np.ndarray) -> np.ndarray:
        """Convert a distance used for ranking to the one to display."""
        return distance


class MatrixDistances(Distances):
    """Distances that were computed elsewhere, as a (Q, G) matrix; ``block`` rows are processed together.

    Raises:
        InputError: not a matrix, or a matrix with NaN or infinite values.
    """

    def __init__(self, matrix, block: int = 256):
        matrix = np.asarray(matrix)
        if matrix.ndim != 2:
            raise InputError(f"distances must be a query x gallery matrix, not an array of shape {matrix.shape}")
        if matrix.dtype not in (np.float32, np.float64):
            matrix = matrix.astype(np.float64)
        bad = sum(np.count_nonzero(~np.isfinite(matrix[i : i + block])) for i in range(0, len(matrix), block))
        if bad:
            raise InputError(f"{bad} of {matrix.size} distances are NaN or infinite; check the features they are from")
        self._matrix, self._block = matrix, block
        self.num_query, self.num_gallery = matrix.shape

    def between(self, query, gallery):
        return self._matrix[query, gallery].astype(np.float64)

    def tiles(self):
        for start in range(0, self.num_query, self._block):
            values = self._matrix[start : start + self._block]
            yield Tile(slice(start, start + len(values)), values, slack=np.zeros(len(values)))


class FeatureDistances(Distances):
    """Distances of features, computed tile by tile and never stored.

    Ranking uses the squared euclidean distance; for ``cosine``, features are first scaled to length 1, so that it is
    2 (1 - cos).

    Args:
        query, gallery: (Q, D) and (G, D) features.
        metric: ``cosine`` or ``euclidean``.
        device: where the products are computed.
        block: queries in a tile; affects speed and memory, not the results.

    Raises:
        InputError: unknown metric, features that are not (n, D) with the same D, or NaN or infinite features.
    """

    def __init__(self, query, gallery, metric: str = "cosine", device: str = "cpu", block: int = 256):
        self._query = ScaledFeatures(query, metric, "query")
        self._gallery = ScaledFeatures(gallery, metric, "gallery")
        if self._query.dim != self._gallery.dim:
            raise InputError(
                f"query features have {self._query.dim} values and gallery features {self._gallery.dim}: "
                "they come from different models"
            )
        self.num_query, self.num_gallery = len(self._query), len(self._gallery)
        self._device, self._block = torch.device(device), block

    def shown(self, distance):
        return self._gallery.shown(distance)

    def between(self, query, gallery):
        return pair_distances(self._query, query, self._gallery, gallery)

    def between_many(self, query, gallery):
        pairs, where = np.unique(query * self.num_gallery + self._gallery.first_copy[gallery], return_inverse=True)
        return self.between(*np.divmod(pairs, self.num_gallery))[where]

    def tiles(self):
        centre = self._gallery.centre()
        query, gallery = (side.prepared(centre, self._device) for side in (self._query, self._gallery))
        slack = error_bound(query, gallery)
        buffer = np.empty(self._block * self.num_gallery if self._device.type == "cpu" else 0, dtype=np.float32)
        for start in range(0, self.num_query, self._block):
            rows = slice(start, min(start + self._block, self.num_query))
            yield Tile(rows, squared_distances(query.left(rows), gallery.right, buffer), slack[rows])
