"""Exact CMC, AP and INP of every query, from features or from a distance matrix."""

import numpy as np

from ..errors import InputError
from .counting import CloserNegatives, Positives
from .distances import Distances, FeatureDistances, MatrixDistances
from .matches import Matches, find_matches
from .result import RankingResult
from .roc import ClosestNegatives

__all__ = ["AP_KINDS", "rank", "rank_features", "rank_matrix"]

AP_KINDS = ("step", "trapezoid")


def rank_features(
    query, gallery, query_pids, gallery_pids, query_camids=None, gallery_camids=None, *,
    metric: str = "cosine", ap: str = "step", fprs=(), device: str = "cpu", block: int = 512,
) -> RankingResult:  # fmt: skip
    """Rank the gallery for every query by the distance of features.

    Args:
        query, gallery: (Q, D) and (G, D) features, arrays or tensors.
        query_pids, gallery_pids: identities, see :func:`~dcal_reid.evaluation.matches.find_matches`.
        query_camids, gallery_camids: cameras; None for both where they are not known.
        metric: ``cosine`` or ``euclidean``.
        ap, fprs: see :func:`rank`.
        device: where the distances are computed.
        block: queries looked at together; changes speed and memory, no result.

    Raises:
        InputError: see :func:`rank`, ``find_matches`` and ``FeatureDistances``.
    """
    matches = find_matches(query_pids, gallery_pids, query_camids, gallery_camids)
    return rank(FeatureDistances(query, gallery, metric, device, block), matches, ap=ap, fprs=fprs)


def rank_matrix(
    distances, query_pids, gallery_pids, query_camids=None, gallery_camids=None, *, ap: str = "step", fprs=()
) -> RankingResult:
    """Rank the gallery for every query by a (Q, G) matrix of distances that were computed elsewhere."""
    matches = find_matches(query_pids, gallery_pids, query_camids, gallery_camids)
    return rank(MatrixDistances(distances), matches, ap=ap, fprs=fprs)


def rank(distances: Distances, matches: Matches, *, ap: str = "step", fprs=()) -> RankingResult:
    """Rank the gallery for every query. Equally close gallery items come in the order of the gallery.

    The k-th closest of P positives that has c_k negatives before it stands at rank r_k = k + c_k. Then

        AP (step)      = 1/P sum_k k / r_k
        AP (trapezoid) = 1/P sum_k (k / r_k + (k - 1) / (r_k - 1)) / 2, where the second term is 1 for r_k = 1
        INP            = P / r_P (Ye et al., "Deep learning for person re-identification: a survey and outlook")

    Junk holds no rank. A query without a positive has no AP; the means are over the other queries.

    Args:
        distances: where the distances come from.
        matches: positives and junk of every query.
        ap: ``step`` (fast-reid, TransReID) or ``trapezoid`` (the scripts of Market-1501, of Oxford Buildings).
        fprs: false positive rates at which the true positive rate is wanted; none: no ROC.

    Raises:
        InputError: unknown ``ap``, sizes that do not fit, or no query with a positive.
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

    positives = Positives.of(distances, matches)
    closer = CloserNegatives(distances, positives)
    consumers = [closer]
    if len(fprs):
        roc = ClosestNegatives(distances, matches, max(fprs))
        consumers.append(roc)
    same_query = matches.query
    for tile in distances.tiles():
        rows, columns = _same_identity(tile, matches, same_query)
        for consumer in consumers:
            consumer.add(tile, rows, columns)

    ranks = closer.count + np.arange(1, len(closer.count) + 1) - positives.start[positives.query]
    return RankingResult(
        **_scores(positives, ranks, ap),
        num_positives=num_positives,
        num_junk=num_junk,
        num_gallery=matches.num_gallery,
        num_cameras=matches.num_cameras,
        ap_kind=ap,
        roc=roc.curve(fprs, positives.distance) if len(fprs) else None,
    )


def _same_identity(tile, matches: Matches, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the tile of every gallery item with the identity of the query: no negatives."""
    entries = slice(matches.start[tile.query.start], matches.start[tile.query.stop])
    gallery = matches.gallery[entries]
    inside = (gallery >= tile.gallery.start) & (gallery < tile.gallery.stop)
    return query[entries][inside] - tile.query.start, gallery[inside] - tile.gallery.start


def _scores(positives: Positives, ranks: np.ndarray, ap: str) -> dict[str, np.ndarray]:
    """AP, INP and first rank of every query from the rank of every positive, in ascending order for each query."""
    start, lengths = positives.start[:-1], np.diff(positives.start)
    answered = lengths > 0
    k = np.arange(1, len(ranks) + 1) - start[positives.query]
    precision = k / ranks
    if ap == "trapezoid":
        before = np.where(ranks > 1, (k - 1) / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    scores = {"ap": np.full(len(lengths), np.nan), "inp": np.full(len(lengths), np.nan)}
    scores["ap"][answered] = np.add.reduceat(precision, start[answered]) / lengths[answered]
    scores["inp"][answered] = lengths[answered] / ranks[start[answered] + lengths[answered] - 1]
    scores["first_rank"] = np.zeros(len(lengths), dtype=np.int64)
    scores["first_rank"][answered] = ranks[start[answered]]
    return scores
