"""Whether an exported model gives the same features as the model in PyTorch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.images import ImageLike
from ..engine.predictor import Predictor
from ..errors import InputError
from .graph import FeatureGraph

__all__ = ["MIN_COSINE", "Agreement", "agreement", "expected_features", "require_agreement"]

MIN_COSINE = 0.9999
_MAX_RELATIVE = 0.015  # length of a difference relative to the feature; MIN_COSINE alone allows 0.014


class Agreement(NamedTuple):
    """How well two sets of features of the same images agree."""

    images: int
    min_cosine: float
    max_difference: float
    max_relative: float  # length of a difference relative to the expected feature

    def __str__(self) -> str:
        return (
            f"{self.images} images: cosine at least {self.min_cosine:.7f}, values differ by at most "
            f"{self.max_difference:.1e}"
        )


def agreement(expected: np.ndarray, found: np.ndarray) -> Agreement:
    """
    Args:
        expected, found: (n, D).
    """
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1)
    cosines = (expected * found).sum(axis=1) / (lengths * np.linalg.norm(found, axis=1))
    relative = np.linalg.norm(expected - found, axis=1) / lengths
    return Agreement(len(expected), float(cosines.min()), float(np.abs(expected - found).max()), float(relative.max()))


def expected_features(predictor: Predictor, images: Sequence[ImageLike]) -> np.ndarray:
    """PyTorch's features of images, in fp32: (n, D)."""
    graph = FeatureGraph(predictor).eval()
    with torch.no_grad():
        return torch.cat([graph(batch).cpu() for batch in predictor.batches(images)]).numpy()


def require_agreement(
    what: str, expected: np.ndarray, function: Callable[[Sequence[ImageLike]], np.ndarray], images: Sequence[ImageLike]
) -> Agreement:
    """Compare in batches of 1, 2 and all remaining images, because a graph may have kept its traced batch size.

    Raises:
        InputError: a feature differs, in its direction or in its length.
    """
    parts = [images[:1], images[1:3], images[3:]]
    found = np.concatenate([function(part) for part in parts if len(part)])
    result = agreement(expected, found)
    if not (result.min_cosine >= MIN_COSINE and result.max_relative <= _MAX_RELATIVE):
        raise InputError(f"{what} does not give the features of PyTorch, so it is not written ({result})")
    return result
