"""Rows of framed images with captions, for pictures of rank lists and predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torchvision.transforms.v2 import functional as F

from ..data.images import ImageLike, as_image
from .saving import DPI, save_picture

__all__ = ["QUERY", "RIGHT", "WRONG", "Cell", "ImageRows"]

QUERY, RIGHT, WRONG = "#1f5fb4", "#1a9641", "#d7191c"
# In inches.
CELL_WIDTH, CAPTION_GAP, CAPTION_LINE, LINE_HEIGHT = 1.25, 0.09, 0.18, 0.3
# Between a row's first image and the others, as a share of CELL_WIDTH.
FIRST_GAP = 0.15


class Cell(NamedTuple):
    """An image of any size, the colour of its frame and caption, and the caption."""

    image: ImageLike
    colour: str
    caption: str


class ImageRows:
    """A picture of rows. Each has a title and a first image that is set apart from the others.

    Args:
        rows: how many.
        columns: images in the longest row.
        size: (height, width) of the shape in which images are shown.
        caption_lines: in the longest caption.
        legend: what the colours of the frames mean, by colour.
        note: shown beside the legend.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        size: tuple[int, int],
        caption_lines: int,
        legend: Mapping[str, str],
        note: str = "",
    ) -> None:
        # Five images make a picture wide enough for the legend.
        columns = max(5, columns)
        image_height = CELL_WIDTH * size[0] / size[1]
        caption_height = CAPTION_GAP + CAPTION_LINE * caption_lines
        self.pixels = [round(image_height * DPI), round(CELL_WIDTH * DPI)]
        self.figure = Figure(
            figsize=(
                CELL_WIDTH * (columns + FIRST_GAP),
                LINE_HEIGHT + (LINE_HEIGHT + image_height + caption_height) * rows,
            ),
            dpi=DPI,
            layout="constrained",
        )
        self.figure.get_layout_engine().set(w_pad=0.06, h_pad=0.02, wspace=0, hspace=0)
        self.grid = self.figure.add_gridspec(
            1 + 2 * rows,
            columns + 1,
            # A narrow empty column sets the first image apart.
            width_ratios=[1, FIRST_GAP, *[1] * (columns - 1)],
            # The captions are in the margins, which the layout makes large enough.
            height_ratios=[LINE_HEIGHT, *[LINE_HEIGHT, image_height] * rows],
        )
        axes = self.figure.add_subplot(self.grid[0, :])
        axes.set_axis_off()
        handles = [
            Patch(facecolor="none", edgecolor=colour, linewidth=3, label=text) for colour, text in legend.items()
        ]
        axes.legend(handles=handles, ncols=len(handles), loc="center left", borderpad=0, frameon=False, fontsize=10)
        if note:
            axes.text(1, 0.5, note, ha="right", va="center", fontsize=10)

    def draw(self, row: int, title: str, first: Cell, others: Sequence[Cell]) -> None:
        """Draw one row, the uppermost being 0.

        Raises:
            InputError: an image that cannot be read.
        """
        axes = self.figure.add_subplot(self.grid[1 + 2 * row, :])
        axes.set_axis_off()
        axes.text(0, 0, title, fontsize=12, weight="bold", va="bottom")
        for column, cell in zip([0, *range(2, 2 + len(others))], [first, *others], strict=True):
            self._draw_cell(self.figure.add_subplot(self.grid[2 + 2 * row, column]), cell)

    def _draw_cell(self, axes: Axes, cell: Cell) -> None:
        # At a resolution for viewing, whatever size the model takes.
        image = F.resize(as_image(cell.image), self.pixels, antialias=True)
        axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="bicubic")
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(cell.caption, fontsize=9, color=cell.colour, labelpad=3)
        for spine in axes.spines.values():
            spine.set(color=cell.colour, linewidth=4)

    def save(self, path: str | Path) -> None:
        """Write the picture; the suffix of ``path`` is the format."""
        save_picture(self.figure, path)
