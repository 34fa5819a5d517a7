"""Rank lists: every query with the gallery images that a model finds nearest to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from ..data.images import ImageLike
from ..errors import InputError
from .cells import QUERY, RIGHT, WRONG, Cell, ImageRows

__all__ = ["RankRow", "draw_rank_lists"]


@dataclass(frozen=True)
class RankRow:
    """One query and the first k of its rank list, nearest first.

    Junk (the query's identity in the query's camera) must not be among the gallery images: the caller leaves it out, as
    the protocol does.

    Args:
        query: the query's image: a file, or its pixels.
        pid: its identity, as it is to be shown.
        average_precision: of the query's whole rank list, 0..1; NaN if the gallery holds no match.
        gallery: k images.
        distances: k numbers.
        matches: k flags, whether the image shows the query's identity.
        camid, camids: the cameras of the query and of the gallery images, as they are to be shown (3 as "camera 3", a
            text as it is); None if unknown.
        first_rank: the rank of the first gallery image that matches; None if unknown.
    """

    query: ImageLike
    pid: int | str
    average_precision: float
    gallery: Sequence[ImageLike]
    distances: Sequence[float]
    matches: Sequence[bool]
    camid: int | str | None = None
    camids: Sequence[int | str] | None = None
    first_rank: int | None = None


def draw_rank_lists(
    path: str | Path,
    rank_lists: Sequence[RankRow],
    *,
    size: tuple[int, int] = (256, 128),
    note: str = "",
) -> None:
    """One row per query: the query in a blue frame, then its gallery images, green where right and red where wrong.

    Args:
        path: the picture to write; its suffix is the format.
        rank_lists: at least one, of any length.
        size: (height, width) that the model takes. Images are shown in this shape, at a resolution for viewing.
        note: shown above the rank lists.

    Raises:
        InputError: no rank list, or an image that cannot be read.
    """
    if not rank_lists:
        raise InputError("there is no rank list to draw; give at least one query")
    rows = ImageRows(
        len(rank_lists),
        1 + max(len(rank_list.gallery) for rank_list in rank_lists),
        size=size,
        caption_lines=2,
        legend={QUERY: "query", RIGHT: "✓ same identity", WRONG: "✗ another identity"},
        note=note,
    )
    for row, rank_list in enumerate(rank_lists):
        cameras = [None] * len(rank_list.gallery) if rank_list.camids is None else rank_list.camids
        parts = zip(rank_list.gallery, rank_list.distances, rank_list.matches, cameras, strict=True)
        found = [
            Cell(image, RIGHT if match else WRONG, _caption(f"{'✓' if match else '✗'} {distance:.3f}", camera))
            for image, distance, match, camera in parts
        ]
        query = Cell(rank_list.query, QUERY, _caption("query", rank_list.camid))
        rows.draw(row, _title(rank_list), query, found)
    rows.save(path)


def _title(rank_list: RankRow) -> str:
    precision, first = rank_list.average_precision, rank_list.first_rank
    found = "no match in the gallery" if math.isnan(precision) else f"AP {100 * precision:.1f} %"
    later = f"  ·  first match at rank {first}" if first is not None and first > len(rank_list.gallery) else ""
    return f"identity {rank_list.pid}  ·  {found}{later}"


def _caption(text: str, camid: int | str | None) -> str:
    if camid is None:
        return text
    return f"{text}\ncamera {camid}" if isinstance(camid, Integral) else f"{text}\n{camid}"
