"""Attention maps over images, and the patches that GLCA selects (as in DCAL figs. 3 and 4)."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..errors import InputError
from .saving import DPI, save_picture

__all__ = ["draw_attention", "enlarge", "overlay"]

CELL_HEIGHT = 3.0  # inches
CHARACTERS_PER_INCH = 11  # of a column title
SHORTEST_SIDE = 256  # pixels that an image is enlarged to before the heat map is laid over it


def draw_attention(
    path: str | Path,
    images: torch.Tensor | np.ndarray,
    maps: Mapping[str, torch.Tensor | np.ndarray],
    selected: torch.Tensor | np.ndarray | None = None,
    *,
    row_titles: Sequence[str] | None = None,
) -> None:
    """One row per image: the image, each map as a heat map over it, and the selected patches.

    Every map is divided by its own maximum, as the picture says: colours can be compared within a map, but not between
    maps. The text below each map is its maximum as a multiple of its mean; near 1 the attention is the same everywhere,
    whatever the colours.

    Args:
        path: the picture to write; its suffix is the format.
        images: (B, 3, H, W) uint8, RGB.
        maps: by column title, (B, gh, gw), not negative; gh x gw is the grid of patches. At least one.
        selected: (B, n), the patches selected in each image, 0 .. gh * gw - 1 row by row; None leaves them out.
        row_titles: B texts, shown to the left of the rows.

    Raises:
        InputError: shapes, types or values that do not fit together.
    """
    images = _as_array(images)
    maps = {name: _as_array(values).astype(np.float32) for name, values in maps.items()}
    selected = None if selected is None else _as_array(selected)
    grid = _check(images, maps, selected, row_titles)

    rows, columns = len(images), 1 + len(maps) + (selected is not None)
    aspect = images.shape[3] / images.shape[2]
    cell_width = max(CELL_HEIGHT * aspect, 1.75)
    figure = Figure(
        figsize=(cell_width * columns + 1.4, (CELL_HEIGHT + 0.3) * rows + 0.6),
        dpi=DPI,
        layout="constrained",
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, image in enumerate(images):
        image = enlarge(image.transpose(1, 2, 0))
        panels = [image, *(overlay(image, values[row]) for values in maps.values())]
        if selected is not None:
            chosen = np.zeros(grid, dtype=bool)
            chosen.flat[selected[row]] = True
            panels.append(_dim(image, chosen))
            _outline(axes[row, -1], chosen, image.shape[:2])
        for column, panel in enumerate(panels):
            axes[row, column].imshow(panel)
            axes[row, column].set(xticks=[], yticks=[])
        for column, values in enumerate(maps.values(), start=1):
            axes[row, column].set_xlabel(f"maximum {_peak(values[row]):.1f} x mean", fontsize=9)
        if row_titles is not None:
            axes[row, 0].set_ylabel(row_titles[row], fontsize=10)

    titles = ["input", *maps]
    if selected is not None:
        titles.append(f"selected patches\n({selected.shape[1]} of {grid[0] * grid[1]})")
    for column, text in enumerate(titles):
        text = "\n".join(textwrap.fill(line, int(cell_width * CHARACTERS_PER_INCH)) for line in text.splitlines())
        axes[0, column].set_title(text, fontsize=11)
    scale = figure.colorbar(ScalarMappable(Normalize(0, 1), "turbo"), ax=axes, fraction=0.03, aspect=40, shrink=0.8)
    scale.set_label("attention, each map divided by its own maximum", fontsize=10)
    save_picture(figure, path)


def _as_array(values: torch.Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check(
    images: np.ndarray, maps: dict[str, np.ndarray], selected: np.ndarray | None, row_titles: Sequence[str] | None
) -> tuple[int, int]:
    """The grid (gh, gw), if everything fits together."""
    if images.ndim != 4 or images.shape[1] != 3 or not len(images) or images.dtype != np.uint8:
        raise InputError(f"images are {images.dtype} {images.shape}; give uint8 (B, 3, H, W) with B at least 1")
    if not maps:
        raise InputError("there is no attention map to draw; give at least one")
    grid = next(iter(maps.values())).shape[1:]
    for name, values in maps.items():
        if values.ndim != 3 or values.shape != (len(images), *grid) or 0 in values.shape:
            raise InputError(f"map {name!r} is {values.shape}; all maps must be (B, gh, gw) with B = {len(images)}")
        if not np.isfinite(values).all() or values.min() < 0:
            raise InputError(f"map {name!r} holds negative values, NaN or infinity; give attention weights")
    if selected is not None:
        patches = grid[0] * grid[1]
        if selected.ndim != 2 or len(selected) != len(images) or selected.dtype.kind not in "iu":
            raise InputError(f"selected is {selected.dtype} {selected.shape}; give integers (B, n), B = {len(images)}")
        if selected.size and not 0 <= selected.min() <= selected.max() < patches:
            raise InputError(
                f"selected holds patches {selected.min()} to {selected.max()}; a grid of {grid[0]} x {grid[1]} has "
                f"patches 0 to {patches - 1}"
            )
    if row_titles is not None and len(row_titles) != len(images):
        raise InputError(f"there are {len(row_titles)} row titles for {len(images)} images; give one each")
    return grid


def enlarge(image: np.ndarray, longest: float = math.inf) -> np.ndarray:
    """Enlarge an image (H, W, 3) until its shorter side is at least SHORTEST_SIDE, so that heat maps are smooth on
    small crops too, but its longer side not beyond ``longest``."""
    factor = max(1.0, min(SHORTEST_SIDE / min(image.shape[:2]), longest / max(image.shape[:2])))
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def overlay(image: np.ndarray, values: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """A heat map of values (gh, gw), from 0 to ``maximum`` (by default their own), over the image (H, W, 3)."""
    maximum = max(values.max() if maximum is None else maximum, np.finfo(np.float32).tiny)
    heat = np.round(255 * values / maximum).astype(np.uint8)
    heat = cv2.resize(heat, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    heat = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(image, 0.5, heat, 0.5, 0)


def _peak(values: np.ndarray) -> float:
    """The maximum as a multiple of the mean; 1 if all values are the same."""
    return float(values.max() / values.mean()) if values.any() else 1.0


def _dim(image: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), dark and grey outside the chosen patches (gh, gw)."""
    inside = cv2.resize(chosen.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    dark = 0.3 * image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    return np.where(inside[:, :, None] > 0, image, dark.astype(np.uint8))


def _outline(axes: Axes, chosen: np.ndarray, shape: tuple[int, int]) -> None:
    """A line around every group of chosen patches (gh, gw) of an image (H, W)."""
    height, width = shape[0] / chosen.shape[0], shape[1] / chosen.shape[1]
    padded = np.pad(chosen, 1)
    # A line is drawn along the sides of a patch where it differs from its neighbour.
    across = [((x, y), (x + 1, y)) for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])]
    along = [((x, y), (x, y + 1)) for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])]
    # Pixel centres are whole numbers in matplotlib, so an image begins at -0.5.
    lines = np.array(across + along, dtype=float).reshape(-1, 2, 2) * (width, height) - 0.5
    axes.add_collection(LineCollection(lines, colors="#ffd21f", linewidths=1.6, capstyle="projecting"))
