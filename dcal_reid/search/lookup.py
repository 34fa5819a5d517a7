"""The items of a gallery that are nearest to query images, in all cameras or in some."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.datasets.listing import first_few, natural_key
from ..errors import InputError
from ..evaluation import Gallery, Records
from .gallery import item_ids

__all__ = ["Found", "look_up"]

# Where some of the items that were asked for do not count, this many times as many are asked for next.
_GROWTH = 4


@dataclass(frozen=True)
class Found:
    """The items nearest to one query, from the nearest on."""

    query: str  # path
    ids: np.ndarray  # (k,) int64; fewer where the gallery has no more
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
    """Search a gallery, and where cameras do not count, search on until ``k`` items remain.

    An approximate index may end before: it finds no item beyond the lists that it searches.

    Args:
        queries: n paths.
        features: (n, D).
        k: how many items for each query.
        cameras: only these count; none: all.
        exclude_cameras: these do not count.

    Raises:
        InputError: k below 1, an empty gallery, cameras that it does not have or of which none remains, or features of
            another dimension.
    """
    if not len(gallery):
        raise InputError("the gallery is empty; add images to it")
    wanted = _wanted_cameras(gallery, cameras, exclude_cameras) if cameras or exclude_cameras else None
    found: dict[int, Found] = {}
    asked, unfinished = k, list(range(len(queries)))
    while unfinished:
        hits = gallery.search(features[unfinished], asked)
        searched, unfinished = unfinished, []
        for query, ids, distances in zip(searched, hits.ids, hits.distances, strict=True):
            ids = ids[ids >= 0]
            counts = np.full(len(ids), True)
            if wanted is not None:
                counts = np.isin(gallery.records(ids).cameras.astype(str), wanted)
            kept = np.flatnonzero(counts)[:k]
            if len(kept) < k and len(ids) == asked < len(gallery):  # there may be more further on
                unfinished.append(query)
            else:
                found[query] = Found(str(queries[query]), ids[kept], distances[kept], gallery.records(ids[kept]))
        asked = min(_GROWTH * asked, len(gallery))
    return [found[query] for query in range(len(queries))]


def _wanted_cameras(gallery: Gallery, cameras: Sequence[str], exclude: Sequence[str]) -> list[str]:
    present = np.unique(gallery.records(item_ids(gallery)).cameras.astype(str)).tolist()
    if set(present) <= {"", "-1"}:
        raise InputError("the gallery does not know its cameras; build it from a .csv with a column camera")
    unknown = [camera for camera in (*cameras, *exclude) if camera not in present]
    if unknown:
        names = first_few(map(repr, sorted(present, key=natural_key)), 10)
        raise InputError(f"the gallery has no camera {unknown[0]!r}; its cameras are {names}")
    wanted = [camera for camera in cameras or present if camera not in exclude]
    if not wanted:
        raise InputError("no camera remains; exclude fewer of them")
    return wanted
