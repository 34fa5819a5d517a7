"""The items of a gallery that are nearest to query images, in all cameras or in some."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..evaluation import Gallery, Records
from ..evaluation.records import UNKNOWN
from ..text import first_few, natural_key

__all__ = ["Found", "look_up"]


@dataclass(frozen=True)
class Found:
    """The items nearest to one query, nearest first."""

    query: str  # path
    ids: np.ndarray  # (k,) int64; fewer if no more were found
    distances: np.ndarray  # (k,) float32: 1 - cos or the euclidean distance
    records: Records  # of k items


def look_up(
    gallery: Gallery,
    queries: Sequence[str],
    features: np.ndarray,
    k: int,
    *,
    cameras: Sequence[str] = (),
    exclude_cameras: Sequence[str] = (),
) -> list[Found]:
    """Search a gallery, in all cameras or in some.

    Args:
        queries: n paths.
        features: (n, D).
        k: how many items for each query.
        cameras: search only these; empty: all.
        exclude_cameras: leave these out.

    Raises:
        InputError: k is below 1, the gallery is empty, a camera is not in it, no camera remains, or the features have
            another dimension.
    """
    if not len(gallery):
        raise InputError("the gallery is empty; add images to it")
    wanted = _wanted_cameras(gallery, cameras, exclude_cameras) if cameras or exclude_cameras else None
    hits = gallery.search(features, k, wanted)
    found = []
    for query, ids, distances in zip(queries, hits.ids, hits.distances, strict=True):
        there = ids >= 0
        found.append(Found(str(query), ids[there], distances[there], gallery.records(ids[there])))
    return found


def _wanted_cameras(gallery: Gallery, cameras: Sequence[str], exclude: Sequence[str]) -> list[str]:
    present = gallery.cameras
    if set(present) <= set(map(str, UNKNOWN)):
        raise InputError("the gallery does not know its cameras; build it from a .csv with a column camera")
    unknown = [camera for camera in (*cameras, *exclude) if camera not in present]
    if unknown:
        names = first_few(map(repr, sorted(present, key=natural_key)), 10)
        raise InputError(f"the gallery has no camera {unknown[0]!r}; its cameras are {names}")
    wanted = [camera for camera in cameras or present if camera not in exclude]
    if not wanted:
        raise InputError("no camera remains; exclude fewer of them")
    return wanted
