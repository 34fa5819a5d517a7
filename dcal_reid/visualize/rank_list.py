"""Rank lists: every query with the gallery images that a model finds nearest to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from torchvision.transforms.v2 import functional as F

from ..data.images import read_image
from ..errors import InputError

__all__ = ["RankList", "draw_rank_lists"]

QUERY, RIGHT, WRONG = "#1f5fb4", "#1a9641", "#d7191c"
# In inches.
CELL_WIDTH, CAPTION_HEIGHT, LINE_HEIGHT = 1.25, 0.45, 0.3
# Between the query and its gallery images, as a share of CELL_WIDTH.
QUERY_GAP = 0.15


@dataclass(frozen=True)
class RankList:
    """One query and the first k of its rank list, nearest first.

    Junk (the query's identity in the query's camera) must not be among the gallery images: whoever makes the list
    leaves it out, as the protocol does.

    Args:
        query: the query's image file.
        pid: its identity, as it shall be shown.
        average_precision: of the query's whole rank list, 0..1; NaN if the gallery holds no match.
        gallery: k image files.
        distances: k numbers.
        matches: k flags, whether the image shows the query's identity.
        camid, camids: the cameras of the query and of the gallery images, as they shall be shown (3 as "camera 3",
            a text as it is); None if unknown.
    """

    query: str | Path
    pid: int | str
    average_precision: float
    gallery: Sequence[str | Path]
    distances: Sequence[float]
    matches: Sequence[bool]
    camid: int | str | None = None
    camids: Sequence[int | str] | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.gallery), len(self.distances), len(self.matches)]
        if self.camids is not None:
            lengths.append(len(self.camids))
        if len(set(lengths)) > 1:
            raise InputError(f"the rank list of query {str(self.query)!r} has parts of different lengths: {lengths}")


def draw_rank_lists(
    path: str | Path, rank_lists: Sequence[RankList], *, size: tuple[int, int] = (256, 128), dpi: int = 120
) -> None:
    """One row per query: the query in a blue frame, then its gallery images, green where right and red where wrong.

    Args:
        path: the picture to write; its suffix is the format.
        rank_lists: at least one, of any length.
        size: (height, width) that the model takes. Images are shown in this shape, in a resolution for people.
        dpi: pixels per inch of the picture.

    Raises:
        InputError: no rank list, or an image that cannot be read.
    """
    if not rank_lists:
        raise InputError("there is no rank list to draw; give at least one query")
    # Four images make a picture wide enough for the legend.
    columns = 1 + max(4, *(len(rank_list.gallery) for rank_list in rank_lists))
    rows = len(rank_lists)
    image_height = CELL_WIDTH * size[0] / size[1]
    pixels = (round(image_height * dpi), round(CELL_WIDTH * dpi))
    figure = Figure(
        figsize=(
            CELL_WIDTH * (columns + QUERY_GAP),
            LINE_HEIGHT + (LINE_HEIGHT + image_height + CAPTION_HEIGHT) * rows,
        ),
        dpi=dpi,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.add_gridspec(
        1 + 2 * rows,
        columns + 1,
        # A narrow empty column sets the query apart.
        width_ratios=[1, QUERY_GAP, *[1] * (columns - 1)],
        # The captions are in the margins, which the layout makes as large as they need.
        height_ratios=[LINE_HEIGHT, *[LINE_HEIGHT, image_height] * rows],
    )
    _draw_legend(figure.add_subplot(grid[0, :]))
    for row, rank_list in enumerate(rank_lists):
        _draw_row(figure, grid, 1 + 2 * row, rank_list, pixels)
    figure.savefig(path)


def _draw_legend(axes: Axes) -> None:
    axes.set_axis_off()
    frames = ((QUERY, "query"), (RIGHT, "✓ same identity"), (WRONG, "✗ another identity"))
    handles = [Patch(facecolor="none", edgecolor=colour, linewidth=3, label=text) for colour, text in frames]
    axes.legend(handles=handles, ncols=3, loc="center left", borderpad=0, frameon=False, fontsize=10)


def _draw_row(figure: Figure, grid: GridSpec, row: int, rank_list: RankList, pixels: tuple[int, int]) -> None:
    title = figure.add_subplot(grid[row, :])
    title.set_axis_off()
    title.text(0, 0, _title(rank_list), fontsize=12, weight="bold", va="bottom")

    query = figure.add_subplot(grid[row + 1, 0])
    _draw_image(query, rank_list.query, pixels, QUERY, "query", rank_list.camid)
    cameras = [None] * len(rank_list.gallery) if rank_list.camids is None else rank_list.camids
    parts = zip(rank_list.gallery, rank_list.distances, rank_list.matches, cameras, strict=True)
    for column, (image, distance, match, camera) in enumerate(parts, start=2):
        colour, mark = (RIGHT, "✓") if match else (WRONG, "✗")
        _draw_image(figure.add_subplot(grid[row + 1, column]), image, pixels, colour, f"{mark} {distance:.3f}", camera)


def _title(rank_list: RankList) -> str:
    precision = rank_list.average_precision
    found = "no match in the gallery" if math.isnan(precision) else f"AP {100 * precision:.1f} %"
    return f"identity {rank_list.pid}  ·  {found}"


def _draw_image(
    axes: Axes, path: str | Path, pixels: tuple[int, int], colour: str, caption: str, camid: int | str | None
) -> None:
    image = F.resize(read_image(str(path)), list(pixels), antialias=True)
    axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="bicubic")
    axes.set(xticks=[], yticks=[])
    if camid is not None:
        caption += f"\ncamera {camid}" if isinstance(camid, Integral) else f"\n{camid}"
    axes.set_xlabel(caption, fontsize=9, color=colour, labelpad=3)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=4)
