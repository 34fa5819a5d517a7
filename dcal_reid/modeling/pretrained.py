"""Pretrained backbone weights from a local file."""

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from ..errors import InputError
from ..files import read_tensors

__all__ = ["load_pretrained"]

logger = logging.getLogger(__name__)

_POS_EMBED = "pos_embed"


def load_pretrained(vit: nn.Module, path: str | Path, size: Sequence[int] = ()) -> None:
    """Load timm-named weights; position embeddings and patches of another size are resized. Logs what was done.

    Args:
        vit: timm's model.
        path: .safetensors or .pth.
        size: (height, width) of the images that the weights were trained on; empty: they were squares, or the model's.

    Raises:
        InputError: the file cannot be read, holds less than half of the model's values, or those of another network;
            its position embeddings are not of that size.
    """
    given = _state_dict(path)
    state = dict(given)
    resized = {}
    if _is_flat(getattr(vit, _POS_EMBED, None)) and _is_flat(given.get(_POS_EMBED)):
        # By what follows they would be taken for those of a square, or left out.
        resized[_POS_EMBED] = _resized(state.pop(_POS_EMBED), vit, path, size)
    elif size:
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_SIZE is {list(size)}, but the model or weights {str(path)!r} have no position "
            "embeddings that depend on it; remove it"
        )
    # Each of timm's architectures has its own: old names to new ones, embeddings to another size.
    filtered = getattr(sys.modules[type(vit).__module__], "checkpoint_filter_fn", None)
    try:
        state = (filtered(state, vit) if filtered else state) | resized
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"weights {str(path)!r} are of another network ({error}); choose the MODEL.BACKBONE.TIMM_MODEL that they "
            "belong to"
        ) from error
    model = vit.state_dict()
    loaded = {key: value for key, value in state.items() if key in model and value.shape == model[key].shape}

    share = sum(value.numel() for value in loaded.values()) / sum(value.numel() for value in model.values())
    if share < 0.5:
        raise InputError(
            f"weights {str(path)!r} match {share:.0%} of the model's values (first key in the file: "
            f"{next(iter(given))!r}, in the model: {next(iter(model))!r}); choose the MODEL.BACKBONE.TIMM_MODEL "
            "that they belong to"
        )
    vit.load_state_dict(loaded, strict=False)
    changed = [key for key in loaded if key in given and given[key].shape != loaded[key].shape]
    skipped = [key for key in state if key not in loaded]
    missing = [key for key in model if key not in loaded]
    # A head is expected to be left over; blocks are not, nor that something stays random.
    unexpected = missing or any(key.startswith(("blocks.", "norm")) for key in skipped)
    logger.log(
        logging.WARNING if unexpected else logging.INFO,
        "Loaded %d tensors, %.1f%% of the model's values, from %s. Resized: %s. Skipped: %s. Not in the file: %s.",
        len(loaded),
        100 * share,
        path,
        ", ".join(changed) or "none",
        ", ".join(f"{key} {list(state[key].shape)}" for key in skipped) or "none",
        ", ".join(missing) or "none",
    )


def _is_flat(pos_embed: Tensor | None) -> bool:
    """(1, tokens, D), which does not tell height from width."""
    return pos_embed is not None and pos_embed.ndim == 3


def _resized(pos_embed: Tensor, vit: nn.Module, path: str | Path, size: Sequence[int]) -> Tensor:
    """Position embeddings (1, prefix + n, D) of images of ``size`` -> those of the model."""
    grid = list(vit.patch_embed.grid_size)
    prefix = vit.pos_embed.shape[1] - math.prod(grid)
    patches = pos_embed.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if size:
        old = [
            length * rows // pixels for length, rows, pixels in zip(size, grid, vit.patch_embed.img_size, strict=True)
        ]
        if math.prod(old) != patches:
            raise InputError(
                f"MODEL.BACKBONE.PRETRAIN_SIZE is {list(size)}, which makes {old[0]} x {old[1]} patches, but weights "
                f"{str(path)!r} have position embeddings of {patches}; give the size that they were trained at"
            )
    elif side**2 == patches:
        old = [side, side]
    elif patches == math.prod(grid):
        old = grid
    else:
        raise InputError(
            f"weights {str(path)!r} have {pos_embed.shape[1]} position embeddings, of which the model takes {prefix} "
            f"for other tokens than patches, and {patches} are no square; choose the MODEL.BACKBONE.TIMM_MODEL that "
            "they belong to, or if their images were no squares, give their size as MODEL.BACKBONE.PRETRAIN_SIZE [H,W]"
        )
    return resample_abs_pos_embed(pos_embed, grid, old, num_prefix_tokens=prefix)


def _state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, out of the wrappers that training scripts put around them."""
    content = read_tensors(path)
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = {key.removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"weights {str(path)!r} hold no tensors")
    return tensors
