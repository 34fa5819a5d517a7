"""Queries of a dataset with what was found for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from ..data.images import read_image
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import DCALReidEvaluator
from ..evaluation.plot import check_picture_path, draw_curves, sample_pairs
from .attention import enlarge, overlay
from .evaluated import evaluated_features, evaluated_retrieval
from .rank_list import RankList, draw_rank_lists
from .report import rank_lists_of, spread, worst_first

__all__ = ["ORDERS", "chosen_queries", "show_ranks", "with_attention"]

ORDERS = ("worst", "best", "spread")
ATTENTION_NOTE = "colours: SA rollout, each image divided by its own maximum"


def show_ranks(
    output: str | Path,
    cfg: CfgNode,
    predictor: Predictor | None = None,
    *,
    features: str = "",
    dataset: str = "",
    order: str = "worst",
    queries: Sequence[int] = (),
    identities: Sequence[int] = (),
    count: int = 6,
    top: int = 10,
    attention: bool = False,
    curves: str = "",
) -> DCALReidEvaluator:
    """Draw queries with their nearest gallery images, junk left out.

    Args:
        output: the picture to write; its suffix is the format.
        cfg: TEST says how features are scored.
        predictor: what makes the features, where none are given, and the attention.
        features: ``features.npz`` of an earlier evaluation.
        dataset: what is evaluated, where no features are given; default: the first of DATASETS.TESTS.
        order, queries, identities, count: see :func:`chosen_queries`.
        top: gallery images each.
        attention: lay the SA rollout over the images.
        curves: where CMC, AP, ROC and the distances of pairs are drawn; empty: nowhere.

    Returns:
        The evaluator, which knows every query's result.

    Raises:
        InputError: files or options that cannot be used, or a model whose attention cannot be drawn.
        OSError: a picture cannot be written.
    """
    for path in filter(None, (output, curves)):
        check_picture_path(path)
    if top < 1 or count < 1:
        raise InputError(f"--top is {top} and --count {count}; both must be at least 1")
    if predictor is None and (attention or not features):
        raise InputError("there is no model; give --weights, or --features without --attention")
    if features and dataset:
        raise InputError("--features has its own images; give it or --dataset, not both")
    if attention:
        predictor.attention([np.zeros((*predictor.image_size, 3), dtype=np.uint8)])  # before long work
    if features:
        evaluator = evaluated_features(features, cfg)
    else:
        evaluator = evaluated_retrieval(predictor, dataset or cfg.DATASETS.TESTS[0])
    chosen = chosen_queries(evaluator, order=order, queries=queries, identities=identities, count=count)
    lists = rank_lists_of(evaluator, chosen, top)
    size = predictor.image_size if predictor is not None else _usual_size([found.query for found in lists])
    if attention:
        lists = [with_attention(found, predictor) for found in lists]
    draw_rank_lists(output, lists, size=size, note=ATTENTION_NOTE if attention else "")
    if curves:
        draw_curves(evaluator.result, curves, sample_pairs(*evaluator.compared))
    return evaluator


def chosen_queries(
    evaluator: DCALReidEvaluator,
    *,
    order: str = "worst",
    queries: Sequence[int] = (),
    identities: Sequence[int] = (),
    count: int = 6,
) -> list[int]:
    """Positions of queries among the queries of an evaluation.

    Args:
        evaluator: after its evaluation.
        order: worst | best (by average precision) | spread (evenly from the worst to the best), of those that have a
            match.
        queries: these positions instead, whether they have a match or not.
        identities: only queries of these.
        count: how many, but for ``queries``.

    Raises:
        InputError: an order, a query or an identity that is not there.
    """
    data, result = evaluator.features(), evaluator.result
    if order not in ORDERS:
        raise InputError(f"--order is {order!r}; use one of {', '.join(ORDERS)}")
    wrong = [query for query in queries if not 0 <= query < result.num_query]
    if wrong:
        raise InputError(f"--queries names {wrong[0]}; there are the queries 0 to {result.num_query - 1}")
    if queries:
        return list(queries)
    by_ap, pids = worst_first(result), data.pids[data.query]
    unknown = sorted(set(identities) - set(pids[by_ap].tolist()))
    if unknown:
        known = sorted(set(pids[by_ap].tolist()))
        raise InputError(
            f"--identities names {unknown[0]}, of which no query has a match; there are {len(known)} identities, "
            f"{known[0]} to {known[-1]}"
        )
    if identities:
        by_ap = by_ap[np.isin(pids[by_ap], list(identities))]
    if order == "spread":
        return spread(by_ap, min(count, len(by_ap)))
    return (by_ap if order == "worst" else by_ap[::-1])[:count].tolist()


def with_attention(found: RankList, predictor: Predictor) -> RankList:
    """A rank list whose images are what the model sees, under the SA rollout of each.

    Raises:
        InputError: an image that cannot be read, or a backbone without a CLS token.
    """
    images = [found.query, *found.gallery]
    maps = predictor.attention(images).sa.float().cpu().numpy()
    pixels = predictor.preprocess(images).permute(0, 2, 3, 1).numpy()
    query, *gallery = (overlay(enlarge(image), values) for image, values in zip(pixels, maps, strict=True))
    return replace(found, query=query, gallery=gallery)


def _usual_size(paths: Sequence[str]) -> tuple[int, int]:
    """(height, width) in which images are shown whose model is not known: of the one in the middle by shape."""
    sizes = []
    for path in paths:
        try:
            sizes.append(tuple(read_image(str(path)).shape[1:]))
        except InputError as error:
            raise InputError(f"{error} (it must be where it was evaluated)") from error
    return sorted(sizes, key=lambda size: size[0] / size[1])[len(sizes) // 2]
