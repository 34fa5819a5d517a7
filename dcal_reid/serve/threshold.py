"""The distance below which a hit counts as a match, if none is given."""

import logging

import numpy as np

from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation.records import known
from ..evaluation.scaled import ScaledFeatures, pair_distances
from .shared import SharedGallery

__all__ = ["FALSE_POSITIVE_RATE", "find_threshold"]

logger = logging.getLogger(__name__)

FALSE_POSITIVE_RATE = 0.01
_SAMPLE = 128  # images, hence 8,128 pairs
_IDENTICAL = 1e-3  # share of the largest distance: closer pairs are taken for the same image


def find_threshold(predictor: Predictor, gallery: SharedGallery) -> tuple[float, float | None]:
    """The distance below which 1 % of the pairs of different identities lie, among at most 128 images of the gallery,
    and this rate, 0.01. Images without a known identity are left out, and so are pairs of identical images, because one
    of their labels is wrong. Images that cannot be read are left out with a warning.

    Without two known identities the distance is a guess, and its rate None: it is from pairs of any images, as if each
    image without a known identity had one of its own.

    Raises:
        InputError: there are no such pairs.
    """
    records = gallery.everything()
    rows = np.flatnonzero([known(identity) is not None for identity in records.identities.tolist()])
    # Sorted by identity, so that the first and the last image show two if there are two.
    rows = rows[np.argsort(records.identities[rows], kind="stable")]
    guessed = len(rows) == 0 or records.identities[rows[0]] == records.identities[rows[-1]]
    if guessed:
        rows = np.arange(len(records))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int))]
    features, identities = [], []
    for row in rows.tolist():
        try:
            features.append(predictor(str(records.paths[row]))[0].numpy())
        except InputError as error:
            logger.warning("%s", error)
            continue
        identity = records.identities[row]
        identities.append(f"image {row}" if known(identity) is None else f"identity {identity}")
    different = np.not_equal.outer(identities, identities)
    if different.any():
        distances = _distances(np.stack(features), gallery.gallery.metric)
        different &= distances > _IDENTICAL * distances.max()
    if not different.any():
        raise InputError("a threshold cannot be found without images of two identities; give one with --threshold")
    threshold = float(np.quantile(distances[different], FALSE_POSITIVE_RATE))
    if guessed:
        logger.warning(
            "The gallery has no images of two known identities, so the threshold %.4g is a guess: %g %% of pairs of "
            "any images are closer; choose one with --threshold", threshold, 100 * FALSE_POSITIVE_RATE,
        )  # fmt: skip
    return threshold, None if guessed else FALSE_POSITIVE_RATE


def _distances(features: np.ndarray, metric: str) -> np.ndarray:
    """Distances between all pairs of n features (n, D), as a gallery measures them: (n, n)."""
    scaled, (row, column) = ScaledFeatures(features, metric), np.indices((len(features), len(features)))
    return scaled.shown(pair_distances(scaled, row.ravel(), scaled, column.ravel())).reshape(row.shape)
