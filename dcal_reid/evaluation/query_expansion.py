"""Average query expansion: every feature becomes a mean of its nearest neighbours.

AQE: Chum et al., "Total recall", ICCV 2007. With weights, alpha-QE: Radenovic et al., "Fine-tuning CNN image retrieval
with no human annotation", TPAMI 2019.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .neighbours import find_neighbours
from .scaled import ScaledFeatures, pair_distances
from .threads import for_blocks

__all__ = ["ExpansionOptions", "expand"]


@dataclass(frozen=True)
class ExpansionOptions:
    """The mean is over ``k`` items, weighted by cosine similarity to the power of ``alpha``, repeated ``times`` times.

    ``alpha`` 0 is plain AQE.

    Raises:
        InputError: an invalid value.
    """

    k: int = 5
    alpha: float = 3.0
    times: int = 1

    def __post_init__(self):
        if self.k < 1 or self.times < 1 or self.alpha < 0:
            raise InputError(
                f"query expansion needs k and times of at least 1 and alpha of at least 0, not {self.k}, {self.times} "
                f"and {self.alpha}"
            )


def expand(features, options: ExpansionOptions, device: str = "cpu") -> np.ndarray:
    """Replace each of the features by

        sum_j w_j f_j / sum_j w_j,   w_j = max(cos(f, f_j), 0)^alpha,

    over the ``k`` items j of highest cosine similarity, including itself. fast-reid divides by k instead, which is
    equivalent under the cosine metric but would shrink features under the euclidean one. A feature of zeros is left
    unchanged and has no weight in the means of others.

    Args:
        features: (N, D), queries and gallery together.
        options: k, alpha, times.
        device: where neighbours are found.

    Returns:
        (N, D) float32.

    Raises:
        InputError: features that cannot be used.
    """
    for _ in range(options.times):
        features = _expand_once(ScaledFeatures(features, "cosine"), options, device)
    return features


def _expand_once(items: ScaledFeatures, options: ExpansionOptions, device: str) -> np.ndarray:
    # In ascending order, so that sums do not depend on how the neighbours were found.
    index = np.sort(find_neighbours(items, (options.k,), device).index, axis=1)
    count = index.shape[1]
    distance = pair_distances(items, np.repeat(np.arange(len(items)), count), items, index.reshape(-1))
    weight = np.maximum(1 - distance / 2, 0).reshape(index.shape) ** options.alpha
    # A feature of zeros is similar to nothing, not even to itself, whatever its distance, so it is left unchanged.
    some_length = items.features.any(axis=1)
    weight *= some_length[index] & some_length[:, None]
    weight /= np.where(some_length, weight.sum(axis=1), 1)[:, None]
    expanded = np.empty(items.features.shape, dtype=np.float32)

    def some(start: int) -> None:
        rows = slice(start, start + 64)
        expanded[rows] = np.einsum("bk,bkd->bd", weight[rows], items.features[index[rows]])

    for_blocks(some, len(items), 64)
    return expanded
