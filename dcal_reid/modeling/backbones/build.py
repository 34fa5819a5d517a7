"""From a name in the config to a backbone."""

import numpy as np
import timm
import torch
from fastreid.config import CfgNode
from fastreid.config import get_cfg as fastreid_get_cfg
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from timm.models.cait import Cait
from timm.models.crossvit import CrossVit
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ...data.transforms import output_size
from ...errors import InputError
from ..pretrained import load_pretrained
from .base import Backbone
from .cait import CaiTBackbone
from .crossvit import CrossViTBackbone
from .swin import SwinBackbone
from .vit import ViTBackbone

__all__ = ["build_timm_backbone", "input_size", "pixel_statistics"]

# Backbones that use the weights of MODEL.BACKBONE.TIMM_MODEL.
_OF_TIMM_MODEL = ("build_timm_backbone", "build_fastreid_vit")

# The adapter for each timm class. Subclasses are not supported: their forward pass differs.
ADAPTERS: dict[type[nn.Module], type[Backbone]] = {
    VisionTransformer: ViTBackbone,
    Cait: CaiTBackbone,
    SwinTransformer: SwinBackbone,
    CrossVit: CrossViTBackbone,
}


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode) -> Backbone:
    """Build MODEL.BACKBONE.TIMM_MODEL for the configured input size, and load its weights if PRETRAIN is set.

    Raises:
        InputError: no such model, an unsupported architecture or attention, an input size that is not a multiple of the
            patch size, or weights that cannot be downloaded or read.
    """
    options = cfg.MODEL.BACKBONE
    # fast-reid's predictor, and --eval-only of its tools, set PRETRAIN False but keep the path used in training.
    path, size = (options.PRETRAIN_PATH, options.PRETRAIN_SIZE) if options.PRETRAIN else ("", ())
    if len(size) and (not path or len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size)):
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_SIZE is {list(size)}; it is the [H,W] that the weights of PRETRAIN_PATH were "
            "trained at, and goes with that key"
        )
    from_hub = options.PRETRAIN and not path
    if from_hub:
        with torch.device("meta"):  # refuse an unsupported model before downloading its weights
            _create(cfg, from_hub=False)
    vit = _create(cfg, from_hub)
    if path:
        load_pretrained(vit, path, size)
    return ADAPTERS[type(vit)](vit)


def _create(cfg: CfgNode, from_hub: bool) -> nn.Module:
    options = cfg.MODEL.BACKBONE
    name, kwargs = options.TIMM_MODEL, dict(options.TIMM_KWARGS)
    _check_name(name)
    if kwargs.get("in_chans", 3) != 3:
        raise InputError(
            f"MODEL.BACKBONE.TIMM_KWARGS.in_chans is {kwargs['in_chans']}; images have three channels here, grey ones "
            "three equal ones: remove it"
        )
    height, width = input_size(cfg)
    try:
        vit = timm.create_model(
            name,
            pretrained=from_hub,
            img_size=(height, width),
            num_classes=0,
            drop_path_rate=options.DROP_PATH_RATIO,
            proj_drop_rate=options.DROP_RATIO,
            attn_drop_rate=options.ATT_DROP_RATE,
            **kwargs,
        )
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        # The hub raises OSErrors, some of which are also ValueErrors, and errors of its HTTP library.
        of_timm = isinstance(error, TypeError | AssertionError | ValueError | RuntimeError)
        if not from_hub or (of_timm and not isinstance(error, OSError)):
            raise InputError(
                f"timm cannot build MODEL.BACKBONE.TIMM_MODEL {name!r} for {height}x{width} with "
                f"TIMM_KWARGS {kwargs} ({reason})"
            ) from error
        raise InputError(
            f"the weights of {name!r} could not be fetched from timm's hub ({reason}); "
            "download them and give the file as MODEL.BACKBONE.PRETRAIN_PATH"
        ) from error
    _check_architecture(name, vit, height, width)
    return vit


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    near = timm.list_models(f"*{name.split('.')[0]}*")[:3] or timm.list_models("deit_*_patch16_224")
    raise InputError(f"MODEL.BACKBONE.TIMM_MODEL {name!r} is not a timm model; similar names: {', '.join(near)}")


def _check_architecture(name: str, vit: nn.Module, height: int, width: int) -> None:
    if type(vit) not in ADAPTERS:
        supported = ", ".join(kind.__name__ for kind in ADAPTERS)
        raise InputError(
            f"MODEL.BACKBONE.TIMM_MODEL {name!r} is a {type(vit).__name__}; supported are timm's {supported} "
            "(docs/backbones.md)"
        )
    ADAPTERS[type(vit)].check(name, vit, (height, width))


def input_size(cfg: CfgNode) -> tuple[int, int]:
    """(height, width) of the images that reach the model, the same in training and test.

    Raises:
        InputError: the two sizes differ; the position embeddings fit only one.
    """
    train, test = output_size(cfg, is_train=True), output_size(cfg, is_train=False)
    if train != test:
        raise InputError(
            f"the sizes of training images {train} and test images {test} differ (INPUT.SIZE_TRAIN "
            f"{list(cfg.INPUT.SIZE_TRAIN)}, SIZE_TEST {list(cfg.INPUT.SIZE_TEST)}, CROP, PADDING); the position "
            "embeddings fit one size only"
        )
    return train


def pixel_statistics(cfg: CfgNode) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the three channels, in 0..255, as MODEL.PIXEL_STATS specifies.

    The values that the weights were trained with are known for backbones that use MODEL.BACKBONE.TIMM_MODEL. For other
    backbones, such as fast-reid's ResNet or one of your own, the config's values are used.

    Raises:
        InputError: the weights' values are used, but the config sets different ones, which would be ignored.
    """
    given = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    if cfg.MODEL.PIXEL_STATS == "config" or cfg.MODEL.BACKBONE.NAME not in _OF_TIMM_MODEL:
        return given
    _check_name(cfg.MODEL.BACKBONE.TIMM_MODEL)
    weights = timm.get_pretrained_cfg(cfg.MODEL.BACKBONE.TIMM_MODEL)
    own = [255 * value for value in weights.mean], [255 * value for value in weights.std]
    defaults = fastreid_get_cfg().MODEL
    unset = defaults.PIXEL_MEAN, defaults.PIXEL_STD
    for key, values, *known in zip(("PIXEL_MEAN", "PIXEL_STD"), given, own, unset, strict=True):
        if not any(np.allclose(values, other, atol=0.5) for other in known):
            raise InputError(
                f"MODEL.{key} is {values}, but the model's weights were trained with {_rounded(known[0])}, which is "
                "what is used; remove it, or set MODEL.PIXEL_STATS config"
            )
    return own


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]
