"""Reading files of weights: checkpoints and exported weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError
from ..files import read_tensors

__all__ = ["EXPORT_VERSION", "Weights", "export_metadata", "read_weights"]

# The format of files of exported weights.
EXPORT_VERSION = "1"


class Weights(NamedTuple):
    """The part of a checkpoint, or of exported weights, that is needed to use the model."""

    state: dict[str, Tensor]  # of the model, or of its average if a checkpoint has both
    grid_size: list[int] | None  # [rows, columns] of patches; None: the file does not say
    class_names: list[str] | None  # by label; None: the file does not say
    num_classes: int  # identities or classes, from the file or from the classifier's rows; 0: it has neither


def read_weights(path: str | Path) -> Weights:
    """Read a checkpoint, or a file from ``weights.save_weights``.

    Raises:
        InputError: see ``read_tensors`` and :func:`export_metadata`.
    """
    content = read_tensors(path)
    metadata = export_metadata(str(path)) if Path(path).suffix == ".safetensors" else None
    told = {}
    for name, is_as_written in _TOLD.items():
        try:
            told[name] = content.get(name) if metadata is None else json.loads(metadata.get(name, "null"))
            valid = told[name] is None or is_as_written(told[name])
        except (ValueError, RecursionError):  # not JSON
            valid = False
        if not valid:
            raise InputError(f"checkpoint {str(path)!r} is damaged: its {name} is not as it was written")
    state = _evaluated(content)
    # Other files do not store it, and a user's own architecture may have another name for its classifier.
    found = (len(state[name]) for name in ("heads.sa.weight", "heads.weight") if name in state)
    return Weights(state, told["grid_size"], told["class_names"], told["num_classes"] or next(found, 0))


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


# What a file may contain besides its tensors, and a check that each value is in the form that we write.
_TOLD: dict[str, Callable[[object], bool]] = {
    "grid_size": lambda value: _are(int, value) and len(value) == 2,
    "class_names": lambda value: _are(str, value),
    "num_classes": lambda value: _are(int, [value]) and value >= 0,
}


def export_metadata(weights: str) -> dict[str, str]:
    """The metadata that ``weights.save_weights`` wrote beside the tensors; empty for any other file.

    Raises:
        InputError: a damaged file, or one of another version.
    """
    if Path(weights).suffix != ".safetensors" or not Path(weights).is_file():
        return {}
    try:
        with safe_open(weights, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"checkpoint {weights!r} is damaged or not a checkpoint: {error}") from error
    if "dcal_reid" not in metadata:
        return {}
    if metadata["dcal_reid"] != EXPORT_VERSION:
        raise InputError(
            f"{weights!r} is of version {metadata['dcal_reid']!r}, this reads version {EXPORT_VERSION}: export it again"
        )
    return metadata


def _evaluated(content: dict) -> dict[str, Tensor]:
    """The weights that were evaluated: the averaged ones if a checkpoint has both."""
    return next((content[name] for name in ("ema", "model") if isinstance(content.get(name), dict)), content)
