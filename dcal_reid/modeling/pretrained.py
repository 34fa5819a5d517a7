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
from ..text import first_few

__all__ = ["load_pretrained"]

logger = logging.getLogger(__name__)

_POS_EMBED = "pos_embed"
# The keys under which files store a network's weights. Averaged weights, which are the ones used after training, come
# first: dcal_reid, DeiT, timm, DINO.
_WRAPPERS = ("ema", "model_ema", "state_dict_ema", "teacher", "model", "state_dict")
# Prefixes of the backbone's names in networks of TransReID, of fast-reid and DINO, and of dcal_reid.
_PREFIXES = ("base.", "backbone.", "backbone.vit.")
_CHOOSE = "choose the MODEL.BACKBONE.TIMM_MODEL that they belong to"


def load_pretrained(vit: nn.Module, path: str | Path, size: Sequence[int] = ()) -> None:
    """Load weights with timm's names; position and patch embeddings of another size are resized. Logs what was done.

    Args:
        vit: timm's model.
        path: .safetensors or .pth, of the network alone or of a larger network whose backbone it is.
        size: (height, width) of the images that the weights were trained on; empty: square, or the model's size.

    Raises:
        InputError: the file cannot be read, belongs to another network, holds less than half of the model's values or
            no patch embedding, or has position embeddings that do not fit ``size``.
    """
    given = _backbone_weights(path, vit)
    state = dict(given)
    resized = {}
    if _is_flat(getattr(vit, _POS_EMBED, None)) and _is_flat(given.get(_POS_EMBED)):
        # timm's filter below would take them for a square grid, or skip them.
        resized[_POS_EMBED] = _resized(state.pop(_POS_EMBED), vit, path, size)
    elif size:
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_SIZE is {list(size)}, but the model or weights {str(path)!r} have no position "
            "embeddings that depend on it; remove it"
        )
    # Each timm architecture has its own filter, which renames old keys and resizes embeddings.
    filtered = getattr(sys.modules[type(vit).__module__], "checkpoint_filter_fn", None)
    try:
        state = (filtered(state, vit) if filtered else state) | resized
    except Exception as error:  # the filter can fail in any way on weights of other shapes
        reason = str(error) or type(error).__name__
        raise InputError(f"weights {str(path)!r} are of another network ({reason}); {_CHOOSE}") from error
    model = vit.state_dict()
    loaded = {key: value for key, value in state.items() if key in model and value.shape == model[key].shape}
    missing = [key for key in model if key not in loaded]
    share = sum(value.numel() for value in loaded.values()) / sum(value.numel() for value in model.values())
    # Blocks alone are useless: those of TransReID-SSL, for example, follow convolutions, not a patch embedding.
    if share < 0.5 or any(key.startswith("patch_embed.") and key.endswith("proj.weight") for key in missing):
        differing = next((key for key in missing if key in given), None)
        if differing:
            shapes = [list(tensors[differing].shape) for tensors in (given, model)]
            reason = f"{differing} is {shapes[0]}, in the model {shapes[1]}; {_CHOOSE}"
        else:
            theirs, ours = (first_few(map(repr, names)) for names in (given, model))
            reason = (
                f"the names are {theirs}, in the model {ours}; {_CHOOSE}, or if that is already set, give them "
                f"timm's names ({', '.join(_PREFIXES)} may precede them)"
            )
        raise InputError(f"weights {str(path)!r} match {share:.0%} of the model's values: {reason}")
    vit.load_state_dict(loaded, strict=False)
    changed = [key for key in loaded if key in given and given[key].shape != loaded[key].shape]
    skipped = [key for key in state if key not in loaded]
    # A skipped head is expected; skipped blocks are not, nor are values that stay random.
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
    """Whether the shape is (1, tokens, D), which does not record height and width."""
    return pos_embed is not None and pos_embed.ndim == 3


def _resized(pos_embed: Tensor, vit: nn.Module, path: str | Path, size: Sequence[int]) -> Tensor:
    """Resize position embeddings (1, prefix + n, D) for images of ``size`` to the model's grid."""
    grid = list(vit.patch_embed.grid_size)
    prefix = vit.pos_embed.shape[1] - math.prod(grid)
    patches = pos_embed.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if size:
        patch = [pixels // rows for pixels, rows in zip(vit.patch_embed.img_size, grid, strict=True)]
        # Patches may overlap, as in TransReID. Both sides of the grid grow with the overlap, so only one grid has this
        # number of patches.
        grids = [
            [(length - pixels) // (pixels - overlap) + 1 for length, pixels in zip(size, patch, strict=True)]
            for overlap in range(min(patch))
        ]
        old = next((rows for rows in grids if min(rows) > 0 and math.prod(rows) == patches), None)
        if old is None:
            raise InputError(
                f"MODEL.BACKBONE.PRETRAIN_SIZE is {list(size)}, which makes {grids[0][0]} x {grids[0][1]} patches, or "
                f"more if they overlap, but weights {str(path)!r} have position embeddings of {patches}; give the size "
                "that they were trained at"
            )
    elif 0 < patches == side**2:
        old = [side, side]
    elif patches == math.prod(grid):
        old = grid
    else:
        raise InputError(
            f"weights {str(path)!r} have {pos_embed.shape[1]} position embeddings, of which the model uses {prefix} "
            f"for tokens other than patches, and {patches} do not form a square; {_CHOOSE}, or if their images were "
            "not square, give their size as MODEL.BACKBONE.PRETRAIN_SIZE [H,W]"
        )
    if old != grid:
        logger.info("Position embeddings of %d x %d patches become those of %d x %d.", *old, *grid)
    return resample_abs_pos_embed(pos_embed, grid, old, num_prefix_tokens=prefix)


def _backbone_weights(path: str | Path, vit: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file by name; for a larger network only its backbone's, without their prefix."""
    content, place = read_tensors(path), []
    for key in _WRAPPERS:
        if isinstance(content.get(key), dict):
            content, place = content[key], [*place, key]
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        found = first_few(map(repr, content)) or "nothing"
        raise InputError(
            f"weights {str(path)!r} hold no tensors where they are expected, but {found}; save the state_dict of the "
            "network alone"
        )
    tensors = _with_jpm(tensors)
    parts = {
        prefix: {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        for prefix in ("", *_PREFIXES)
    }
    names = vit.state_dict().keys()
    prefix = max(parts, key=lambda prefix: len(parts[prefix].keys() & names))
    if place or prefix:
        others = sorted({key.partition(".")[0] for key in tensors if not key.startswith(prefix)})
        where = "/".join([*place, f"{prefix}*"])
        logger.info("Of %s, %s is the backbone. Left out: %s.", path, where, ", ".join(others) or "none")
    return parts[prefix]


def _with_jpm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TransReID with JPM trains b1, a copy of the last block and the norm, instead of these: put b1 in their place."""
    if not {"b1.1.weight", "base.norm.weight"} <= tensors.keys():
        return tensors
    last = max(int(key.split(".")[2]) for key in tensors if key.startswith("base.blocks."))
    logger.info("b1, which TransReID trains in their place, is taken for block %d and the norm.", last)
    names = {"b1.0.": f"base.blocks.{last}.", "b1.1.": "base.norm."}
    trained = {names[key[:5]] + key[5:]: value for key, value in tensors.items() if key[:5] in names}
    return {key: value for key, value in tensors.items() if key[:5] not in names} | trained
