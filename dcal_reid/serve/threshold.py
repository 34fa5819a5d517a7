"""The distance below which a hit counts as a match, where nobody has given one."""

import logging

import numpy as np

from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import FaissGallery, Records
from .shared import SharedGallery

__all__ = ["FALSE_POSITIVE_RATE", "find_threshold"]

logger = logging.getLogger(__name__)

FALSE_POSITIVE_RATE = 0.01
_SAMPLE = 128  # images, hence 8,128 pairs


def find_threshold(predictor: Predictor, gallery: SharedGallery) -> float:
    """The distance that 1 % of the pairs of different identities are closer than, among 128 images of the gallery. An
    image of no known identity counts as one of its own.

    Raises:
        InputError: there are fewer than two identities among them.
    """
    records = gallery.everything()
    rows = np.unique(np.linspace(0, len(records) - 1, min(_SAMPLE, len(records))).astype(int))
    features, identities = [], []
    for row in rows.tolist():
        try:
            features.append(predictor(str(records.paths[row]))[0].numpy())
        except InputError as error:
            logger.warning("%s", error)
            continue
        identity = records.identities[row]
        identities.append(f"image {row}" if identity in (-1, "") else f"identity {identity}")
    different = np.not_equal.outer(identities, identities)
    if not different.any():
        raise InputError("a threshold cannot be found without images of two identities; give one with --threshold")
    distances = _distances(np.stack(features), gallery.gallery.metric)
    return float(np.quantile(distances[different], FALSE_POSITIVE_RATE))


def _distances(features: np.ndarray, metric: str) -> np.ndarray:
    """Between all pairs of n features (n, D), as a gallery measures them: (n, n)."""
    hits = FaissGallery.build(features, Records.of_paths([""] * len(features)), metric=metric).search(
        features, len(features)
    )
    distances = np.empty(hits.distances.shape)
    np.put_along_axis(distances, hits.ids, hits.distances, axis=1)
    return distances
