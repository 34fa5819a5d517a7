"""Pretrained backbone weights from a local file."""

import logging
import sys
from pathlib import Path

from torch import Tensor, nn

from ..errors import InputError
from ..files import read_tensors

__all__ = ["load_pretrained"]

logger = logging.getLogger(__name__)


def load_pretrained(vit: nn.Module, path: str | Path) -> None:
    """Load timm-named weights; position embeddings and patches of another size are resized. Logs what was done.

    Raises:
        InputError: the file cannot be read, or holds less than half of the model's values.
    """
    given = _state_dict(path)
    # Each of timm's architectures has its own: old names to new ones, embeddings to another size.
    filtered = getattr(sys.modules[type(vit).__module__], "checkpoint_filter_fn", None)
    state = filtered(dict(given), vit) if filtered else given
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
    resized = [key for key in loaded if key in given and given[key].shape != loaded[key].shape]
    skipped = [f"{key} {list(value.shape)}" for key, value in state.items() if key not in loaded]
    missing = [key for key in model if key not in loaded]
    logger.info(
        "Loaded %d tensors, %.1f%% of the model's values, from %s. Resized: %s. Skipped: %s. Not in the file: %s.",
        len(loaded),
        100 * share,
        path,
        ", ".join(resized) or "none",
        ", ".join(skipped) or "none",
        ", ".join(missing) or "none",
    )


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
