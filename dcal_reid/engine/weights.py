"""One file with everything that inference needs: weights, configuration, class names."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from safetensors.torch import save_file
from torch import nn

from ..config import value_of
from ..errors import InputError
from ..evaluation.fingerprint import model_fingerprint
from ..files import no_such_checkpoint, written_atomically
from .check import check_config
from .checkpoint import evaluation_state, grid_size_of
from .job import evaluation_model
from .setup import load_config, parse_config, use_device
from .weight_file import EXPORT_VERSION, export_metadata, read_weights

__all__ = ["fingerprint", "load", "save_weights"]

logger = logging.getLogger(__name__)

# The settings that determine the features, besides the weights.
_DECIDES = (
    "MODEL.BACKBONE.TIMM_MODEL", "MODEL.BACKBONE.TIMM_KWARGS", "MODEL.DCAL.INFERENCE", "MODEL.DCAL.GLCA",
    "MODEL.PIXEL_STATS", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "INPUT.SIZE_TEST", "INPUT.CROP", "TEST.FLIP",
)  # fmt: skip


def load(
    weights: str = "", config_file: str = "", overrides: Sequence[str] = (), device: str = "auto"
) -> tuple[CfgNode, nn.Module, list[str] | None]:
    """Load a model in evaluation mode, with its configuration and its class names.

    Args:
        weights: a file from :func:`save_weights`, or a checkpoint. Empty: the model that the configuration describes,
            before training.
        config_file: default: the configuration in the file, or ``config.yaml`` beside the checkpoint.
        overrides: KEY VALUE ..., except MODEL.WEIGHTS and MODEL.DEVICE.
        device: auto, cpu, cuda, cuda:1 ...

    Returns:
        The configuration, the model, and the class names if the file has them.

    Raises:
        InputError: no configuration can be found, or it does not fit the weights.
    """
    for key, option in (("MODEL.WEIGHTS", "--weights"), ("MODEL.DEVICE", "--device")):
        if key in overrides[::2]:
            raise InputError(f"{key} is among the overrides; give it with {option} (in Python: {option[2:]}=)")
    metadata, given = export_metadata(weights), overrides
    overrides = (*given, "MODEL.WEIGHTS", weights, "MODEL.DEVICE", device)
    beside = Path(weights).parent / "config.yaml"
    if config_file:
        cfg = load_config(config_file, overrides)
    elif "config" in metadata:
        cfg = parse_config(metadata["config"], weights, overrides)
    elif weights and Path(weights).is_file() and beside.is_file():
        cfg = load_config(str(beside), overrides)
    elif weights and not Path(weights).is_file():
        raise no_such_checkpoint(weights)
    elif not weights:
        raise InputError("no weights are given; give a checkpoint with --weights")
    else:
        raise InputError(f"there is no configuration with {weights!r}; give one with --config-file")
    if not weights:
        logger.warning("No weights are given: this is the model of %r before any training of its own.", config_file)
    use_device(cfg)
    check_config(cfg)
    found = read_weights(weights) if weights else None
    if found:
        cfg.MODEL.HEADS.NUM_CLASSES = found.num_classes
    cfg.freeze()
    model = evaluation_model(cfg, found)
    if "fingerprint" in metadata and not (config_file or given) and fingerprint(cfg, model) != metadata["fingerprint"]:
        raise InputError(f"{weights!r} has changed since it was written: its fingerprint differs; export it again")
    return cfg, model, found and found.class_names


def save_weights(path: str | Path, cfg: CfgNode, model: nn.Module, class_names: list[str] | None = None) -> None:
    """Write what inference needs to one safetensors file, which :func:`load` reads: no optimiser, no classifier of
    training identities, no code.

    Args:
        path: ends in .safetensors.
        cfg: of the model.
        model: on any device.
        class_names: of a classification model.

    Raises:
        InputError: the path has another suffix.
    """
    if Path(path).suffix != ".safetensors":
        raise InputError(f"weights are written as safetensors, not as {str(path)!r}; give a name.safetensors")
    cfg = cfg.clone()
    cfg.defrost()
    # Paths on this machine mean nothing on another.
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "auto"
    cfg.MODEL.BACKBONE.PRETRAIN_PATH, cfg.MODEL.BACKBONE.PRETRAIN_SIZE = "", ()
    metadata = {"dcal_reid": EXPORT_VERSION, "fingerprint": fingerprint(cfg, model), "config": cfg.dump()}
    told = {"grid_size": grid_size_of(model), "class_names": class_names, "num_classes": cfg.MODEL.HEADS.NUM_CLASSES}
    metadata |= {name: json.dumps(value) for name, value in told.items() if value is not None}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in evaluation_state(model).items()}
    with written_atomically(path) as temporary:
        save_file(tensors, temporary, metadata)


def fingerprint(cfg: CfgNode, model: nn.Module) -> str:
    """Identifies everything that determines the features: weights, architecture, image size, read-out."""
    settings = {key: value_of(cfg, key) for key in _DECIDES}
    return model_fingerprint(evaluation_state(model), json.dumps(settings, sort_keys=True))
