"""The pictures of an evaluated model: what it finds, and where it looks."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..data.datasets.classification import ClassificationDataset
from ..data.images import read_image
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import ClassificationResult, DCALReidEvaluator, RankingResult
from .attention import draw_attention
from .predictions import Prediction, draw_predictions
from .rank_list import RankList

__all__ = [
    "draw_attention_of",
    "draw_predictions_of",
    "mistakes_first",
    "rank_lists_of",
    "spread",
    "worst_first",
]


def worst_first(result: RankingResult) -> np.ndarray:
    """The queries that have a match, from the worst to the best average precision."""
    answered = np.flatnonzero(result.answered)
    return answered[np.argsort(result.ap[answered], kind="stable")]


def rank_lists_of(evaluator: DCALReidEvaluator, queries: Sequence[int], length: int) -> list[RankList]:
    """What an evaluation found for some queries, as pictures show it.

    Args:
        evaluator: after its evaluation.
        queries: their positions in ``evaluator.result``.
        length: how many gallery images each.

    Raises:
        InputError: a query that is not there, or a length below 1.
    """
    data, result = evaluator.features(), evaluator.result
    pictures = []
    for found in evaluator.rank_lists(queries, length):
        rows = data.gallery.start + found.gallery
        pictures.append(
            RankList(
                query=data.paths[found.query],
                pid=int(data.pids[found.query]),
                average_precision=float(result.ap[found.query]),
                gallery=data.paths[rows].tolist(),
                distances=found.distances.tolist(),
                matches=found.matches.tolist(),
                camid=int(data.camids[found.query]),
                camids=data.camids[rows].tolist(),
                first_rank=int(result.first_rank[found.query]),
            )
        )
    return pictures


def mistakes_first(result: ClassificationResult, count: int) -> list[int]:
    """Images, half of them mistakes if there are so many, each half evenly spread from sure to unsure predictions."""
    order = np.argsort(-result.probabilities[:, 0], kind="stable")
    wrong, right = (order[(result.rank[order, 0] == 1) == correct] for correct in (False, True))
    mistakes = min(len(wrong), max(count // 2, count - len(right)))
    return spread(wrong, mistakes) + spread(right, min(len(right), count - mistakes))


def spread(values: np.ndarray, count: int) -> list:
    """So many of some values, evenly spread from the first to the last."""
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)].tolist() if count else []


def draw_predictions_of(
    path: str | Path,
    result: ClassificationResult,
    dataset: ClassificationDataset,
    size: tuple[int, int],
    *,
    count: int = 6,
) -> None:
    """Test images with their most probable classes, mistakes first.

    Args:
        path: the picture to write.
        result: of an evaluation on ``dataset``.
        dataset: gives each class an example, its first training image that can be decoded.
        size: (height, width) in which images are shown.
        count: how many test images.
    """
    images, names, shown = defaultdict(list), result.class_names, mistakes_first(result, count)
    for image, label, _ in dataset.train:
        images[label].append(image)
    examples = {label: _first_decodable(images[label]) for label in np.unique(result.top[shown]).tolist()}
    predictions = [
        Prediction(
            image=str(result.paths[number]),
            label=names[result.labels[number]],
            classes=[names[label] for label in result.top[number]],
            probabilities=result.probabilities[number].clip(max=1).tolist(),
            examples=[examples[label] for label in result.top[number]],
        )
        for number in shown
    ]
    draw_predictions(path, predictions, size=size)


def _first_decodable(paths: Sequence[str]) -> str:
    """With DATALOADER.BROKEN_IMAGES skip there may be others. If all are, the first."""
    for path in paths:
        with suppress(InputError):
            read_image(path)
            return path
    return paths[0]


def draw_attention_of(
    path: str | Path, predictor: Predictor, image_paths: Sequence[str], *, row_titles: Sequence[str] | None = None
) -> None:
    """Where SA and GLCA look in some images, and which patches are GLCA's local queries (DCAL figs. 3 and 4).

    Args:
        path: the picture to write.
        predictor: with a backbone that has a CLS token.
        image_paths: image files.
        row_titles: a text for each image.

    Raises:
        InputError: an image that cannot be read, or a model whose attention cannot be drawn.
    """
    maps = predictor.attention(image_paths)
    columns = {"SA rollout": maps.sa}
    if maps.glca is not None:
        columns["GLCA rollout"] = maps.glca
    draw_attention(path, predictor.preprocess(image_paths), columns, maps.selected, row_titles=row_titles)
