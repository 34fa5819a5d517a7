"""Where PWCA looks in an image and in its distractor (DCAL figs. 3b and 4b)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..errors import InputError
from ..modeling.attention_maps import PairAttentionMaps
from .attention import CELL_HEIGHT, enlarge, overlay
from .saving import DPI, save_picture

__all__ = ["draw_pair_attention"]

COLUMNS = (
    "target",
    "SA rollout\nover the target",
    "PWCA, last block:\nover the target",
    "PWCA, last block:\nover the distractor",
    "PWCA rollout\nover the target",
    "PWCA rollout\nover the distractor",
)


def draw_pair_attention(
    path: str | Path,
    images: torch.Tensor,
    sa: torch.Tensor,
    pwca: PairAttentionMaps,
    *,
    names: Sequence[str] = ("a", "b"),
) -> None:
    """Two rows: each image as the target, with the other one as its distractor.

    The maps of PWCA over target and distractor share one scale, so that their colours can be compared. The text below
    each map is the share of the attention that falls on its patches; the rest falls on CLS tokens.

    Args:
        path: the picture to write; its suffix is the format.
        images: (2, 3, H, W) uint8, RGB.
        sa: (2, gh, gw), from ``attention_maps``.
        pwca: from ``pair_attention_maps``.
        names: of both images.

    Raises:
        InputError: shapes that do not fit together.
    """
    if images.ndim != 4 or images.shape[:2] != (2, 3) or images.dtype != torch.uint8:
        raise InputError(f"images are {images.dtype} {tuple(images.shape)}; give a pair, uint8 (2, 3, H, W)")
    if sa.ndim != 3 or len(sa) != 2 or any(maps.shape != (2, 2, *sa.shape[1:]) for maps in pwca):
        shapes = ", ".join(str(tuple(maps.shape)) for maps in (sa, *pwca))
        raise InputError(f"maps are {shapes}; give (2, gh, gw), and (2, 2, gh, gw) twice")
    pixels = [enlarge(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
    sa, last, rollout = (maps.float().cpu().numpy() for maps in (sa, *pwca))
    cell_width = max(CELL_HEIGHT * images.shape[3] / images.shape[2], 1.9)
    figure = Figure(figsize=(6 * cell_width + 1.4, 2 * (CELL_HEIGHT + 0.3) + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(2, 6)
    for target, axes in enumerate(grid):
        panels = [(pixels[target], names[target]), (overlay(pixels[target], sa[target]), _share(sa[target]))]
        for maps in (last[target], rollout[target]):
            for image, values in zip((pixels[target], pixels[1 - target]), maps, strict=True):
                panels.append((overlay(image, values, maps.max()), _share(values)))
        for axis, (panel, text) in zip(axes, panels, strict=True):
            axis.imshow(panel)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(text, fontsize=9)
    for axis, title in zip(grid[0], COLUMNS, strict=True):
        axis.set_title(title, fontsize=11)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "turbo"), ax=grid, fraction=0.03, aspect=40, shrink=0.8)
    bar.set_label("attention; target and distractor have one scale", fontsize=10)
    save_picture(figure, path)


def _share(values: np.ndarray) -> str:
    return f"{100 * values.sum():.0f} % of the attention"
