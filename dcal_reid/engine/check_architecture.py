"""Configuration checks: whether the parts that MODEL names exist and fit together."""

import difflib

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from fastreid.utils.registry import Registry

from ..compat import registered_names
from ..config import value_of
from ..errors import InputError
from ..modeling.dcal import DCAL
from ..modeling.heads import DCALHead
from ..modeling.pair_samplers import PAIR_SAMPLER_REGISTRY

__all__ = ["check_architecture"]

# The only values for fast-reid's own baseline: others would be ignored, or fail in the first step.
_FASTREID_BASELINE = {
    "MODEL.DCAL.GLCA.NUM_BLOCKS": 0,
    "MODEL.DCAL.PWCA.NUM_BLOCKS": 0,
    "MODEL.NOISE.IMAGE": 0,
    "MODEL.NOISE.LABEL": 0,
    "MODEL.ACTIVATION_CHECKPOINTING": False,
}

# Layers that leave a feature as it is; others clamp negative values, or double all of them.
_POOL_LAYERS = ("Identity", "Flatten", "GlobalAvgPool", "FastGlobalAvgPool", "GlobalMaxPool")


def check_architecture(cfg: CfgNode) -> None:
    """
    Raises:
        InputError: a name that is not registered, parts that do not fit together, or values that are invalid for DCAL.
    """
    _check_registered(cfg)
    _check_parts(cfg)
    _check_dcal(cfg.MODEL.DCAL)


def _check_registered(cfg: CfgNode) -> None:
    registries: dict[str, Registry] = {
        "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
        "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
        "MODEL.HEADS.NAME": REID_HEADS_REGISTRY,
        "MODEL.DCAL.PWCA.PAIR_SAMPLER": PAIR_SAMPLER_REGISTRY,
    }
    for key, registry in registries.items():
        name, known = value_of(cfg, key), registered_names(registry)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0)
            raise InputError(f"{key} is {name!r}, which is not registered; similar names: {', '.join(near)}")


def _check_parts(cfg: CfgNode) -> None:
    name = cfg.MODEL.META_ARCHITECTURE
    architecture = META_ARCH_REGISTRY.get(name)
    if getattr(architecture, "preprocess_image", architecture).__module__.startswith("fastreid."):
        fastreids = architecture.__module__.startswith("fastreid.")
        cure = "use DCAL, or for fast-reid's own baseline" if fastreids else "derive it from"
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {name!r}, whose preprocess_image is fast-reid's and cannot take the loader's "
            f"uint8 images; {cure} FastReIDBaseline"
        )
    if issubclass(architecture, DCAL):
        _check_fits_dcal("MODEL.BACKBONE.NAME", BACKBONE_REGISTRY, cfg, "build_timm_backbone")
        _check_fits_dcal("MODEL.HEADS.NAME", REID_HEADS_REGISTRY, cfg, "DCALHead or DCALClassificationHead")
        if cfg.MODEL.HEADS.POOL_LAYER not in _POOL_LAYERS:
            raise InputError(
                f"MODEL.HEADS.POOL_LAYER is {cfg.MODEL.HEADS.POOL_LAYER!r}, but there is nothing to pool: it would "
                "change each value of the feature by itself; set it Identity"
            )
        if cfg.MODEL.HEADS.NORM == "GhostBN":
            raise InputError(
                "MODEL.HEADS.NORM is GhostBN, which in fast-reid is BN in one part, except that it averages the PWCA "
                "stream's statistics too, whatever MODEL.DCAL.PWCA.NECK_STATISTICS says; set it BN"
            )
    if not issubclass(architecture, Baseline):
        return
    for key, only in _FASTREID_BASELINE.items():
        if value_of(cfg, key) != only:
            raise InputError(
                f"{key} is {value_of(cfg, key)!r}; with MODEL.META_ARCHITECTURE {name} it can only be {only!r}"
            )
    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    if not issubclass(head, EmbeddingHead) or issubclass(head, DCALHead | ClasHead):
        raise InputError(
            f"MODEL.HEADS.NAME is {cfg.MODEL.HEADS.NAME!r}; with MODEL.META_ARCHITECTURE {name} it can only be "
            "'EmbeddingHead' or a head of your own that is derived from it"
        )


def _check_fits_dcal(key: str, registry: Registry, cfg: CfgNode, ours: str) -> None:
    """fast-reid's own backbones and heads work on feature maps, but the branches have tokens."""
    name = value_of(cfg, key)
    if registry.get(name).__module__.startswith("fastreid."):
        raise InputError(
            f"{key} is {name!r}, fast-reid's own, which MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} cannot "
            f"work with; use {ours}"
        )


def _check_dcal(dcal: CfgNode) -> None:
    if not 0 < dcal.GLCA.RATIO <= 1:
        raise InputError(
            f"MODEL.DCAL.GLCA.RATIO is {dcal.GLCA.RATIO}; it is a share of the patches, above 0 and up to 1"
        )
    pwca = dcal.PWCA
    if pwca.DISTRACTORS != "batch" and pwca.DISTRACTOR_STREAM != "sa":
        raise InputError(
            f"MODEL.DCAL.PWCA.DISTRACTORS is {pwca.DISTRACTORS!r}: such distractors have no pair-wise stream; "
            "set MODEL.DCAL.PWCA.DISTRACTOR_STREAM sa"
        )
    if pwca.DISTRACTORS == "external" and not pwca.EXTERNAL:
        raise InputError(
            "MODEL.DCAL.PWCA.DISTRACTORS is 'external', but MODEL.DCAL.PWCA.EXTERNAL is empty; name a data set there"
        )
    if dcal.INFERENCE == "glca" and not dcal.GLCA.NUM_BLOCKS:
        raise InputError("MODEL.DCAL.INFERENCE is 'glca' but MODEL.DCAL.GLCA.NUM_BLOCKS is 0; use INFERENCE sa")
