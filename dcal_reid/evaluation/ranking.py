"""Exact CMC, AP and INP of every query, from features or from a distance matrix."""

import numpy as np

from ..errors import InputError
from .counting import CloserNegatives
from .distances import Distances, FeatureDistances, MatrixDistances
from .matches import Matches, find_matches
from .result import RankingResult
from .roc import ClosestNegatives

__all__ = ["AP_KINDS", "rank", "rank_features", "rank_matrix"]

AP_KINDS = ("step", "trapezoid")


def rank_features(
    query, gallery, query_pids, gallery_pids, query_camids=None, gallery_camids=None, *,
    metric: str = "cosine", ap: str = "step", fprs=(), device: str = "cpu", block: int = 256,
) -> RankingResult:  # fmt: skip
    """Rank the gallery for every query by the distance of features.

    Args:
        query, gallery: (Q, D) and (G, D) features, arrays or tensors.
        query_pids, gallery_pids: identities, see :func:`~dcal_reid.evaluation.matches.find_matches`.
        query_camids, gallery_camids: cameras; None for both if they are unknown.
        metric: ``cosine`` or ``euclidean``.
        ap, fprs: see :func:`rank`.
        device: where the distances are computed.
        block: queries processed together; affects speed and memory, not the results.

    Raises:
        InputError: see :func:`rank`, ``find_matches`` and ``FeatureDistances``.
    """
    matches = find_matches(query_pids, gallery_pids, query_camids, gallery_camids)
    return rank(FeatureDistances(query, gallery, metric, device, block), matches, ap=ap, fprs=fprs)


def rank_matrix(
    distances, query_pids, gallery_pids, query_camids=None, gallery_camids=None, *, ap: str = "step", fprs=()
) -> RankingResult:
    """:func:`rank_features` for a (Q, G) matrix of distances that were computed elsewhere.

    Raises:
        InputError: see :func:`rank`, ``find_matches`` and ``MatrixDistances``.
    """
    matches = find_matches(query_pids, gallery_pids, query_camids, gallery_camids)
    return rank(MatrixDistances(distances), matches, ap=ap, fprs=fprs)


def rank(distances: Distances, matches: Matches, *, ap: str = "step", fprs=()) -> RankingResult:
    """Rank the gallery for every query. Equally close gallery items keep the order of the gallery.

    If c_k negatives are before the k-th closest of P positives, that positive is at rank r_k = k + c_k. Then

        AP (step)      = 1/P sum_k k / r_k
        AP (trapezoid) = 1/P sum_k (k / r_k + (k - 1) / (r_k - 1)) / 2, where the second term is 1 for r_k = 1
        INP            = P / r_P (Ye et al., "Deep learning for person re-identification: a survey and outlook")

    Junk has no rank. A query without a positive has no AP; the means are over the other queries.

    Args:
        distances: the source of the distances.
        matches: positives and junk of every query.
        ap: ``step`` (fast-reid, TransReID) or ``trapezoid`` (the scripts of Market-1501 and of Oxford Buildings).
        fprs: false positive rates at which to compute the true positive rate; empty: no ROC.

    Raises:
        InputError: unknown ``ap``, sizes that do not match, no query with a positive, or an ``fprs`` outside 0..1.
    """
    if ap not in AP_KINDS:
        raise InputError(f"unknown kind of average precision {ap!r}; use one of {', '.join(AP_KINDS)}")
    if (distances.num_query, distances.num_gallery) != (matches.num_query, matches.num_gallery):
        raise InputError(
            f"distances of {distances.num_query} queries to {distances.num_gallery} gallery items, but identities of "
            f"{matches.num_query} and {matches.num_gallery}"
        )
    num_positives, num_junk = matches.count(~matches.junk), matches.count(matches.junk)
    if not num_positives.any():
        raise InputError(
            f"none of the {matches.num_query} queries has a match among the {matches.num_gallery} gallery items: "
            f"{np.count_nonzero(num_junk == 0)} have no item of their identity, {np.count_nonzero(num_junk)} only "
            "items from their own camera; check identities and cameras"
        )

    closer = CloserNegatives(distances, matches)
    roc = ClosestNegatives(distances, matches, fprs) if len(fprs) else None
    for tile in distances.tiles():
        if roc is not None:
            roc.add(tile)
        closer.add(tile)
    return RankingResult(
        **_scores(closer.count, num_positives, ap),
        num_positives=num_positives,
        num_junk=num_junk,
        num_gallery=matches.num_gallery,
        num_cameras=matches.num_cameras,
        ap_kind=ap,
        roc=None if roc is None else roc.curve(),
    )


def _scores(negatives_before: np.ndarray, num_positives: np.ndarray, ap: str) -> dict[str, np.ndarray]:
    """AP, INP and first rank of every query, from the number of negatives before each of its positives."""
    query = np.repeat(np.arange(len(num_positives)), num_positives)
    start = np.cumsum(num_positives) - num_positives
    answered = num_positives > 0
    # The closer of two positives never has more negatives before it, so sorting the counts sorts the positives.
    k = np.arange(1, len(query) + 1) - start[query]
    ranks = k + negatives_before[np.lexsort((negatives_before, query))]
    precision = k / ranks
    if ap == "trapezoid":
        before = np.where(ranks > 1, (k - 1) / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    scores = {"ap": np.full(len(start), np.nan), "inp": np.full(len(start), np.nan)}
    scores["ap"][answered] = np.add.reduceat(precision, start[answered]) / num_positives[answered]
    scores["inp"][answered] = (k / ranks)[np.cumsum(num_positives)[answered] - 1]
    scores["first_rank"] = np.zeros(len(start), dtype=np.int64)
    scores["first_rank"][answered] = ranks[start[answered]]
    return scores
