"""Generated features at the sizes of the benchmarks' test sets."""

import numpy as np

from ..errors import InputError
from ..evaluation import FeatureSet

__all__ = ["SIZES", "synthetic"]

# Queries, gallery, identities, cameras (Market-1501: the gallery without its 3,819 junk images).
SIZES = {
    "market1501": (3368, 15913, 750, 6),
    "dukemtmc": (2228, 17661, 1110, 8),
    "veri": (1678, 11579, 200, 20),
    "msmt17": (11659, 82161, 3060, 15),
}


def synthetic(size: str, dim: int, noise: float | None = None) -> FeatureSet:
    """One random centre per identity, and Gaussian noise around it of ``noise`` times its spread.

    By default ``noise`` is chosen so that mAP lies between 0.5 and 0.9 at every size for 128 to 2048 dimensions.

    Raises:
        InputError: unknown size.
    """
    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; use one of {', '.join(SIZES)}")
    num_query, num_gallery, identities, cameras = SIZES[size]
    noise = 1.85 * (dim / 256) ** 0.285 if noise is None else noise
    rng = np.random.default_rng(0)
    pids = rng.integers(0, identities, num_query + num_gallery)
    features = rng.standard_normal((len(pids), dim), dtype=np.float32)
    features *= noise
    centres = rng.standard_normal((identities, dim), dtype=np.float32)
    for start in range(0, len(pids), 4096):
        features[start : start + 4096] += centres[pids[start : start + 4096]]
    camids, no_paths = rng.integers(0, cameras, len(pids)), np.full(len(pids), "")
    return FeatureSet(features, pids, camids, np.arange(len(pids)), no_paths, num_query)
