"""Decide whether two images show the same identity, by a threshold with a known false-accept rate."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import FeatureSet
from ..evaluation.distances import FeatureDistances
from ..evaluation.matches import find_matches
from ..evaluation.ranking import rank
from ..evaluation.scaled import ScaledFeatures, pair_distances
from ..text import printable
from .model import feature_predictor

__all__ = ["Threshold", "check_threshold", "main", "threshold_at"]

# Features of one image by one model have at least this cosine similarity, in any precision and on any device.
_SAME = 0.98


@dataclass(frozen=True)
class Threshold:
    """A pair is accepted as one identity if its distance is below ``distance``; the rates say how often this is
    right."""

    distance: float  # 1 - cos, or the euclidean distance
    far: float  # as asked for: the share of negative pairs that are accepted, at most
    accepted_negatives: int  # pairs, at most
    num_negative_pairs: int
    true_accept_rate: float  # the share of positive pairs that are accepted
    num_positive_pairs: int

    def describe(self) -> str:
        return (
            f"accepts at most {100 * self.far:g} % of negative pairs ({self.accepted_negatives:,} of "
            f"{self.num_negative_pairs:,}) and {100 * self.true_accept_rate:.1f} % of {self.num_positive_pairs:,} "
            "positive pairs"
        )


def threshold_at(data: FeatureSet, far: float, metric: str = "cosine", device: str = "cpu") -> Threshold:
    """The threshold at a false-accept rate, from all pairs of a query and a gallery item that are not junk.

    Args:
        data: of an evaluation on identities that the model was not trained on.
        far: the share of negative pairs that may be accepted.
        metric: ``cosine`` or ``euclidean``.
        device: where the distances are computed.

    Raises:
        InputError: the rate is outside 0..1 or too low for the number of negative pairs, or there is no positive pair.
    """
    matches = find_matches(*data.labels)
    negatives = matches.num_query * matches.num_gallery - len(matches.gallery)
    if not 0 < far < 1:
        raise InputError(f"--far is {far:g}; give a share between 0 and 1, such as 0.001")
    if far * negatives < 1:
        raise InputError(
            f"--far {far:g} is less than one in {negatives:,}, the number of negative pairs, so it cannot be measured; "
            "raise it, or use the features of a larger test set"
        )
    distances = FeatureDistances(data.features[data.query], data.features[data.gallery], metric, device)
    curve = rank(distances, matches, fprs=(far,)).roc
    return Threshold(
        distance=float(curve.threshold[0]),
        far=far,
        accepted_negatives=int(far * negatives),
        num_negative_pairs=curve.num_negative_pairs,
        true_accept_rate=float(curve.tpr[0]),
        num_positive_pairs=curve.num_positive_pairs,
    )


def main(args: argparse.Namespace) -> bool:
    """Compare two images as the command line says, print the decision, and return whether they match.

    Args:
        args: ``images`` (two), ``threshold`` or ``features`` and ``far``; and the arguments of
            ``dcal_reid.engine.arguments``.

    Raises:
        InputError: see :func:`threshold_at` and ``Predictor``; also features with another dimension than the model's,
            or a broken image.
    """
    if (args.threshold is None) == (args.features is None):
        raise InputError("give --features of an evaluation (TEST.SAVE_FEATURES True writes them), or --threshold")
    check_threshold(args.threshold)
    data = None if args.features is None else FeatureSet.load(args.features)
    predictor = feature_predictor(args)
    metric = predictor.cfg.TEST.METRIC
    distance = _distance(predictor(args.images).numpy(), metric)
    threshold, meaning = args.threshold, "as given with --threshold"
    if data is not None:
        if data.features.shape[1] != predictor.dim:
            raise InputError(
                f"{args.features} has features of {data.features.shape[1]} values, this model gives {predictor.dim}: "
                "evaluate this model with TEST.SAVE_FEATURES True"
            )
        found = threshold_at(data, args.far, metric, predictor.model.device.type)
        _check_same_model(args.features, data, predictor)
        threshold, meaning = found.distance, f"from {printable(args.features)}: {found.describe()}"
    similarity = f", similarity {1 - distance:.4f}" if metric == "cosine" else ""
    print("match" if distance < threshold else "no match")
    print(f"{metric} distance {distance:.4f}{similarity}")
    print(f"threshold {threshold:.4f} {meaning}")
    return distance < threshold


def _check_same_model(file: str, data: FeatureSet, predictor: Predictor) -> None:
    """Compare this model's feature of the first image that still exists with the one in the file."""
    row = next((row for row, path in enumerate(data.paths) if Path(path).is_file()), None)
    if row is None:
        unknown = "are not here, so it is not known whether its features are of this model"
        print(f"warning: the images of {printable(file)} {unknown}", file=sys.stderr)
        return
    pair = np.stack([data.features[row], predictor([str(data.paths[row])]).numpy()[0]])
    if (similarity := 1 - _distance(pair, "cosine")) < _SAME:
        raise InputError(
            f"{file} has the features of another model: its feature of {str(data.paths[row])!r} has a similarity "
            f"of {similarity:.2f} to this model's; evaluate this model with TEST.SAVE_FEATURES True"
        )


def check_threshold(threshold: float | None) -> None:
    """Refuse a threshold that is not a distance.

    Raises:
        InputError: the number is not above 0, or is infinite.
    """
    if threshold is not None and not 0 < threshold < float("inf"):
        raise InputError(f"--threshold is {threshold:g}; it is a distance, so give a number above 0")


def _distance(features: np.ndarray, metric: str) -> float:
    """The distance of two features (2, D), as evaluation computes it."""
    scaled = ScaledFeatures(features, metric)
    return float(scaled.shown(pair_distances(scaled, np.array([0]), scaled, np.array([1])))[0])
