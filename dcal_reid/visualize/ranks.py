"""Pictures of queries of a dataset with the results of their searches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from ..data.images import read_image
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import DCALReidEvaluator
from ..evaluation.plot import draw_curves, prepare_picture_path, sample_pairs
from .attention import enlarge, overlay
from .chosen import chosen_queries
from .evaluated import evaluated_features, evaluated_retrieval
from .rank_list import RankRow, draw_rank_lists

__all__ = ["rank_rows", "show_ranks", "with_attention"]

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
        cfg: TEST says how features are scored; with a predictor, its own configuration.
        predictor: computes the features, if none are given, and the attention.
        features: ``features.npz`` of an earlier evaluation.
        dataset: the dataset to evaluate on, if no features are given; default: the first of DATASETS.TESTS.
        order, queries, identities, count: see ``chosen_queries``.
        top: gallery images per query.
        attention: lay the SA rollout over the images.
        curves: the file to draw CMC, AP, ROC and the distances of pairs to; empty: they are not drawn.

    Returns:
        The evaluator, which has the result of every query.

    Raises:
        InputError: files or options that cannot be used, or a model whose attention cannot be drawn.
        OSError: a picture cannot be written.
    """
    for path in filter(None, (output, curves)):
        prepare_picture_path(path)
    if top < 1 or count < 1:
        raise InputError(f"--top is {top} and --count {count}; both must be at least 1")
    if predictor is None and (attention or not features):
        raise InputError("there is no model; give --weights, or --features without --attention")
    if features and dataset:
        raise InputError("--features has its own images; give it or --dataset, not both")
    if attention:
        predictor.attention([np.zeros((*predictor.image_size, 3), dtype=np.uint8)])  # fails before the long work
    if features:
        evaluator = evaluated_features(features, cfg)
    else:
        evaluator = evaluated_retrieval(predictor, dataset or cfg.DATASETS.TESTS[0])
    chosen = chosen_queries(evaluator, order=order, queries=queries, identities=identities, count=count)
    rows = rank_rows(evaluator, chosen, top)
    size = predictor.image_size if predictor is not None else _usual_size([found.query for found in rows])
    if attention:
        rows = [with_attention(found, predictor) for found in rows]
    draw_rank_lists(output, rows, size=size, note=ATTENTION_NOTE if attention else "")
    if curves:
        draw_curves(evaluator.result, curves, sample_pairs(*evaluator.compared))
    return evaluator


def rank_rows(evaluator: DCALReidEvaluator, queries: Sequence[int], length: int) -> list[RankRow]:
    """The rank lists of some queries of an evaluation, ready to be drawn.

    Args:
        evaluator: after its evaluation.
        queries: their positions in ``evaluator.result``.
        length: how many gallery images per query.

    Raises:
        InputError: a query does not exist, or the length is below 1.
    """
    data, result = evaluator.features(), evaluator.result
    rows = []
    for found in evaluator.rank_lists(queries, length):
        places = data.gallery.start + found.gallery
        rows.append(
            RankRow(
                query=data.paths[found.query],
                pid=int(data.pids[found.query]),
                average_precision=float(result.ap[found.query]),
                gallery=data.paths[places].tolist(),
                distances=found.distances.tolist(),
                matches=found.matches.tolist(),
                camid=int(data.camids[found.query]),
                camids=data.camids[places].tolist(),
                first_rank=int(result.first_rank[found.query]),
            )
        )
    return rows


def with_attention(found: RankRow, predictor: Predictor) -> RankRow:
    """A rank list whose images are shown as the model sees them, each under its SA rollout.

    Raises:
        InputError: an image that cannot be read, or a backbone without a CLS token.
    """
    images = [found.query, *found.gallery]
    maps = predictor.attention(images).sa.float().cpu().numpy()
    pixels = predictor.preprocess(images).permute(0, 2, 3, 1).numpy()
    query, *gallery = (overlay(enlarge(image), values) for image, values in zip(pixels, maps, strict=True))
    return replace(found, query=query, gallery=gallery)


def _usual_size(paths: Sequence[str]) -> tuple[int, int]:
    """(height, width) in which images are shown if the model is not known: that of the query with the median shape."""
    sizes = []
    for path in paths:
        try:
            sizes.append(tuple(read_image(str(path)).shape[1:]))
        except InputError as error:
            raise InputError(f"{error} (it must still be where it was during the evaluation)") from error
    return sorted(sizes, key=lambda size: size[0] / size[1])[len(sizes) // 2]
