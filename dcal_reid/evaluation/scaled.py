"""Features scaled as a metric requires, and exact distances of pairs of them."""

import hashlib
from functools import cached_property

import numpy as np
import torch

from ..errors import InputError
from .products import Prepared
from .threads import for_blocks

__all__ = ["METRICS", "ScaledFeatures", "check_metric", "pair_distances"]

METRICS = ("cosine", "euclidean")
# The squared distances of longer features may exceed the range of single precision.
_LONGEST = 2.0**60


class ScaledFeatures:
    """Features scaled so that a metric ranks by their squared euclidean distances.

    For ``cosine`` they are scaled to length 1, so that the squared distance is 2 (1 - cos).

    Args:
        features: (n, D), array or tensor. Not copied if it is in single or double precision.
        metric: ``cosine`` or ``euclidean``.
        name: what error messages call the features.

    Raises:
        InputError: unknown metric, not a matrix, NaN or infinite features, or features too large for ``euclidean``.
    """

    def __init__(self, features, metric: str = "cosine", name: str = ""):
        check_metric(metric)
        name = f"{name} features".strip()
        if isinstance(features, torch.Tensor):
            features = features.detach().cpu()
            features = (features if features.dtype == torch.float64 else features.float()).numpy()
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] == 0:
            raise InputError(f"{name} must be a matrix, items x dimension, not of shape {features.shape}")
        self.features = features if features.dtype in (np.float32, np.float64) else features.astype(np.float32)
        self.metric = metric
        lengths = np.sqrt(self._squares())
        bad = np.flatnonzero(~np.isfinite(lengths))
        if len(bad):
            raise InputError(
                f"{len(bad)} of {len(features)} {name} are NaN or infinite, the first at {bad[:3].tolist()}"
            )
        if metric == "euclidean" and np.any(lengths > _LONGEST):
            raise InputError(
                f"{name} are as long as {lengths.max():.1e}, too large for the euclidean metric; the weights are broken"
            )
        # A feature of zeros stays zero, as in torch.nn.functional.normalize.
        self.scale = 1 / np.maximum(lengths, 1e-12) if metric == "cosine" else np.ones(len(features))

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        return self.features.shape[1]

    def __getitem__(self, rows) -> np.ndarray:
        """(n, D) scaled features in double precision."""
        features = self.features[rows].astype(np.float64)
        features *= self.scale[rows, None]
        return features

    def single(self, rows=slice(None)) -> np.ndarray:
        """(n, D) scaled features in single precision, contiguous, as the search engines of galleries require."""
        return np.ascontiguousarray(self[rows], dtype=np.float32)

    def shown(self, distance: np.ndarray) -> np.ndarray:
        """The distance to display: 1 - cos, or the euclidean distance, not its square."""
        return distance / 2 if self.metric == "cosine" else np.sqrt(distance)

    def centre(self) -> np.ndarray:
        """(D,) approximate mean of the scaled features: over all, or over at least 2048 evenly spread ones."""
        return self[:: max(1, len(self) // 2048)].mean(axis=0)

    def prepared(self, centre: np.ndarray, device: torch.device) -> Prepared:
        return Prepared(self.features, self.scale, centre, device)

    def _squares(self) -> np.ndarray:
        squares = np.empty(len(self))

        def some(start: int) -> None:
            part = self.features[start : start + 32].astype(np.float64)
            np.einsum("ij,ij->i", part, part, out=squares[start : start + 32])

        for_blocks(some, len(self), 32)
        return squares

    @cached_property
    def first_copy(self) -> np.ndarray:
        """(n,) position of the first feature that equals this one."""
        first: dict[bytes, int] = {}
        digests = (hashlib.blake2b(np.ascontiguousarray(row), digest_size=16).digest() for row in self.features)
        return np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)])


def check_metric(metric: str) -> None:
    """
    Raises:
        InputError: unknown metric.
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; use one of {', '.join(METRICS)}")


def pair_distances(a: ScaledFeatures, i: np.ndarray, b: ScaledFeatures, j: np.ndarray) -> np.ndarray:
    """Exact squared distances of the pairs a[i[k]], b[j[k]]: (n,) float64, always the same for the same two features.

    Computed pair by pair as a sum of squared differences in double precision.
    """
    out = np.empty(len(i))
    step = max(1, 2**15 // a.dim)  # both sides of the pairs stay in the CPU's cache

    def some(start: int) -> None:
        difference = a[i[start : start + step]]
        difference -= b[j[start : start + step]]
        np.einsum("ij,ij->i", difference, difference, out=out[start : start + step])

    for_blocks(some, len(i), step)
    return out
