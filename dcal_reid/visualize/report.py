"""The two pictures of an evaluated model: what it finds, and where it looks."""

from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from ..data.images import read_image
from ..evaluation import DCALReidEvaluator, RankingResult
from ..modeling import DCAL
from .attention import draw_attention
from .rank_list import RankList, draw_rank_lists

__all__ = ["draw_attention_of", "draw_rank_lists_of", "spread_by_ap"]


def spread_by_ap(result: RankingResult, count: int) -> list[int]:
    """Queries from the worst to the best average precision, evenly spread over all that have a match."""
    answered = np.flatnonzero(result.answered)
    by_ap = answered[np.argsort(result.ap[answered], kind="stable")]
    return by_ap[np.linspace(0, len(by_ap) - 1, min(count, len(by_ap))).round().astype(int)].tolist()


def draw_rank_lists_of(
    path: str | Path, evaluator: DCALReidEvaluator, size: tuple[int, int], *, count: int = 6, length: int = 10
) -> None:
    """Rank lists of queries from the worst to the best average precision.

    Args:
        path: the picture to write.
        evaluator: after its evaluation.
        size: (height, width) of the images as the model sees them.
        count: how many queries.
        length: how many gallery images each.
    """
    data, result = evaluator.features(), evaluator.result
    pictures = []
    for found in evaluator.rank_lists(spread_by_ap(result, count), length):
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
            )
        )
    draw_rank_lists(path, pictures, size=size)


def draw_attention_of(path: str | Path, model: DCAL, image_paths: list[str], size: tuple[int, int]) -> None:
    """Where SA and GLCA look in some images, and which patches are GLCA's local queries (DCAL figs. 3 and 4).

    Args:
        path: the picture to write.
        model: in evaluation mode.
        image_paths: image files.
        size: (height, width) that the model takes.
    """
    images = torch.stack([F.resize(read_image(p), list(size), antialias=True) for p in image_paths])
    maps = model.attention_maps(images)
    columns = {"SA rollout": maps.sa}
    if maps.glca is not None:
        columns["GLCA rollout"] = maps.glca
    draw_attention(path, images, columns, maps.selected)
