"""The two pictures of an evaluated model: what it finds, and where it looks."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

from ..data.images import read_image
from ..evaluation import FeatureSet, RankingResult
from ..modeling import DCAL
from .attention import draw_attention
from .rank_list import RankList, draw_rank_lists

__all__ = ["draw_attention_of", "draw_rank_lists_of", "rank_list", "spread_by_ap"]


def rank_list(data: FeatureSet, result: RankingResult, query: int, length: int) -> RankList:
    """The gallery images nearest to a query by cosine distance, without its junk; ties by gallery index.

    Args:
        data: the features of a test set.
        result: its evaluation.
        query: the number of the query, 0 .. Q - 1.
        length: how many gallery images.
    """
    gallery = data.gallery
    features = F.normalize(torch.from_numpy(data.features), dim=1)
    distances = (1 - features[gallery] @ features[query]).numpy()
    junk = (data.pids[gallery] == data.pids[query]) & (data.camids[gallery] == data.camids[query])
    order = np.argsort(distances, kind="stable")
    order = order[~junk[order]][:length]
    rows = gallery.start + order
    return RankList(
        query=data.paths[query],
        pid=int(data.pids[query]),
        average_precision=float(result.ap[query]),
        gallery=data.paths[rows].tolist(),
        distances=distances[order].tolist(),
        matches=(data.pids[rows] == data.pids[query]).tolist(),
        camid=int(data.camids[query]),
        camids=data.camids[rows].tolist(),
    )


def spread_by_ap(result: RankingResult, count: int) -> list[int]:
    """Queries from the worst to the best average precision, evenly spread over all that have a match."""
    answered = np.flatnonzero(result.answered)
    by_ap = answered[np.argsort(result.ap[answered], kind="stable")]
    return by_ap[np.linspace(0, len(by_ap) - 1, min(count, len(by_ap))).round().astype(int)].tolist()


def draw_rank_lists_of(
    path: str | Path,
    data: FeatureSet,
    result: RankingResult,
    size: tuple[int, int],
    *,
    count: int = 6,
    length: int = 10,
) -> None:
    """Rank lists of queries from the worst to the best average precision.

    Args:
        path: the picture to write.
        data, result: features of a test set and their evaluation.
        size: (height, width) of the images as the model sees them.
        count: how many queries.
        length: how many gallery images each.
    """
    lists = [rank_list(data, result, query, length) for query in spread_by_ap(result, count)]
    draw_rank_lists(path, lists, size=size)


def draw_attention_of(path: str | Path, model: DCAL, image_paths: list[str], size: tuple[int, int]) -> None:
    """Where SA and GLCA look in some images, and which patches are GLCA's local queries (DCAL figs. 3 and 4).

    Args:
        path: the picture to write.
        model: in evaluation mode.
        image_paths: image files.
        size: (height, width) that the model takes.
    """
    images = torch.stack([transforms.resize(read_image(p), list(size), antialias=True) for p in image_paths])
    maps = model.attention_maps(images)
    columns = {"SA rollout": maps.sa}
    if maps.glca is not None:
        columns["GLCA rollout"] = maps.glca
    draw_attention(path, images, columns, maps.selected)
