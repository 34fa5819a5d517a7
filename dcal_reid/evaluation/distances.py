"""Distances between queries and gallery: exact where it matters, fast where it does not.

A single-precision matrix product gives slightly different numbers for another block size, thread count or device, and
with them other ranks. So a product only sorts out: it says which distances are certainly smaller than a given one.
The few that lie too close to tell are computed again, pair by pair, in double precision and always in the same order
of operations. Ranks are therefore those of the exact distances, whatever computed the product.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..errors import InputError
from .products import UNIT_ROUNDOFF, product_error, squared_distances_less_offset, to_device

__all__ = ["METRICS", "Distances", "FeatureDistances", "MatrixDistances", "Tile"]

METRICS = ("cosine", "euclidean")


@dataclass
class Tile:
    """Distances of some queries to some gallery items. Who reads it may overwrite ``values``.

    ``values[i, j] + offset[i]`` is within ``slack[i]`` of the exact distance.
    """

    query: slice
    gallery: slice
    values: np.ndarray | torch.Tensor  # (B, C), an array on the CPU, a tensor elsewhere
    offset: np.ndarray  # (B,) float64
    slack: np.ndarray  # (B,) float64


class Distances:
    """What ranking needs to know. A subclass says where the distances come from."""

    num_query: int
    num_gallery: int

    def between(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """The exact distances of n pairs, given by positions (n,) and (n,), as float64 (n,)."""
        raise NotImplementedError

    def tiles(self) -> Iterator[Tile]:
        """Every query with every gallery item, once."""
        raise NotImplementedError

    def shown(self, distance: np.ndarray) -> np.ndarray:
        """The distance as people know it, from the one that ranking uses."""
        return distance


class MatrixDistances(Distances):
    """Distances that were computed elsewhere, as a (Q, G) matrix; ``block`` rows are looked at together.

    Raises:
        InputError: not a matrix, or NaN or infinite values in it.
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
            rows = slice(start, min(start + self._block, self.num_query))
            exact = np.zeros(rows.stop - start)
            yield Tile(rows, slice(0, self.num_gallery), self._matrix[rows].copy(), exact, exact)


class FeatureDistances(Distances):
    """Distances of features, computed tile by tile and never kept.

    Ranking uses the squared euclidean distance; for ``cosine`` that of the features scaled to length 1, which is
    2 (1 - cos). Features are moved to their centre first: that changes no distance, and keeps the product accurate
    when all features are alike.

    Args:
        query, gallery: (Q, D) and (G, D) features.
        metric: ``cosine`` or ``euclidean``.
        device: where the products are computed.
        block: a tile is ``block`` queries x ``16 * block`` gallery items. It changes speed and memory, no result.

    Raises:
        InputError: unknown metric, features that are not (n, D) with one D, or NaN or infinite features.
    """

    def __init__(self, query, gallery, metric: str = "cosine", device: str = "cpu", block: int = 512):
        if metric not in METRICS:
            raise InputError(f"unknown metric {metric!r}; use one of {', '.join(METRICS)}")
        self._query, self._gallery = _Side("query", query, metric), _Side("gallery", gallery, metric)
        if self._query.dim != self._gallery.dim:
            raise InputError(
                f"query features have {self._query.dim} values and gallery features {self._gallery.dim}: "
                "they come from different models"
            )
        self.num_query, self.num_gallery = len(self._query), len(self._gallery)
        self._cosine, self._device, self._block = metric == "cosine", torch.device(device), block

    def shown(self, distance):
        """1 - cos, or the euclidean distance (not its square)."""
        return distance / 2 if self._cosine else np.sqrt(distance)

    def between(self, query, gallery):
        if len(query) > 1024 and query[0] == query[-1]:
            # One query, and much of the gallery equally far from it: most of these features are copies of each other.
            copies, where = np.unique(self._gallery.first_copy[gallery], return_inverse=True)
            if len(copies) < len(gallery):
                return self.between(np.full(len(copies), query[0]), copies)[where]
        out = np.empty(len(query))
        step = max(1, 2**16 // self._query.dim)  # both sides of the pairs stay in the processor's cache
        for i in range(0, len(query), step):
            difference = self._query.exact(query[i : i + step])
            difference -= self._gallery.exact(gallery[i : i + step])
            np.einsum("ij,ij->i", difference, difference, out=out[i : i + step])
        return out

    def tiles(self):
        centre = self._gallery.mean()
        queries = [self._query.prepare(rows, centre) for rows in self._query.blocks(self._block)]
        queries = [(to_device(query, self._device), squares) for query, squares in queries]
        for columns in self._gallery.blocks(16 * self._block):
            gallery, gallery_squares = self._gallery.prepare(columns, centre)
            gallery = to_device(gallery, self._device)
            for rows, (query, squares) in zip(self._query.blocks(self._block), queries, strict=True):
                values = squared_distances_less_offset(query, gallery, gallery_squares)
                reach = np.sqrt(squares) + np.sqrt(gallery_squares.max())
                # The product's own error, and that of rounding its inputs and the squared lengths.
                slack = product_error(self._query.dim, reach) + 4 * UNIT_ROUNDOFF * reach**2 + 1e-15
                yield Tile(rows, columns, values, squares, slack)


class _Side:
    """The features of one side, and what to multiply each by before its distance is taken."""

    def __init__(self, name: str, features, metric: str):
        if isinstance(features, torch.Tensor):
            features = features.detach().to("cpu", torch.float32).numpy()
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] == 0:
            raise InputError(f"{name} features must be a matrix, items x dimension, not of shape {features.shape}")
        self._features = features if features.dtype in (np.float32, np.float64) else features.astype(np.float32)
        lengths = np.sqrt(self._squares())
        bad = np.flatnonzero(~np.isfinite(lengths))
        if len(bad):
            raise InputError(
                f"{len(bad)} of {len(features)} {name} features are NaN or infinite, the first at {bad[:3].tolist()}"
            )
        # A feature of zeros stays zero, as in torch.nn.functional.normalize.
        self._scale = 1 / np.maximum(lengths, 1e-12) if metric == "cosine" else np.ones(len(features))

    def __len__(self) -> int:
        return len(self._features)

    @property
    def dim(self) -> int:
        return self._features.shape[1]

    def blocks(self, size: int) -> list[slice]:
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def exact(self, rows: np.ndarray | slice) -> np.ndarray:
        """(n, D) scaled features in double precision."""
        features = self._features[rows].astype(np.float64)
        features *= self._scale[rows, None]
        return features

    def prepare(self, rows: slice, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled and centred features (n, D) in single precision, and their squared lengths (n,) in double."""
        features = np.empty((rows.stop - rows.start, self.dim), dtype=np.float32)
        squares = np.empty(len(features))
        for i in range(0, len(features), 256):
            part = slice(rows.start + i, min(rows.start + i + 256, rows.stop))
            features[i : i + 256] = self.exact(part) - centre
            squares[i : i + 256] = _row_squares(features[i : i + 256])
        return features, squares

    def mean(self) -> np.ndarray:
        """(D,) the centre of the scaled features."""
        return sum(self.exact(part).sum(axis=0) for part in self.blocks(256)) / len(self)

    @cached_property
    def first_copy(self) -> np.ndarray:
        """(n,) position of the first feature that equals this one."""
        first: dict[bytes, int] = {}
        digests = (hashlib.blake2b(np.ascontiguousarray(row), digest_size=16).digest() for row in self._features)
        return np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)])

    def _squares(self) -> np.ndarray:
        return np.concatenate([np.empty(0), *(_row_squares(self._features[part]) for part in self.blocks(256))])


def _row_squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
