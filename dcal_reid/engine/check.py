"""Wrong configurations are refused before anything is built: what is wrong, with which value, and what to do."""

import difflib

from fastreid.config import CfgNode
from fastreid.layers import pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from fastreid.utils.registry import Registry

from ..compat import registered_names
from ..errors import InputError
from ..evaluation.scoring import check_test_options
from ..modeling.dcal import DCAL
from ..modeling.heads import DCALHead
from ..modeling.pair_samplers import PAIR_SAMPLER_REGISTRY
from ..task import is_classification
from .solver import OPTIMIZERS

__all__ = ["check_config"]

_CHOICES = {
    "MODEL.PIXEL_STATS": ("weights", "config"),
    "MODEL.DCAL.INFERENCE": ("sa+glca", "sa", "glca"),
    "MODEL.DCAL.LOSS_WEIGHTS": ("learned", "fixed"),
    "MODEL.DCAL.GLCA.INPUT": ("parallel", "stacked"),
    "MODEL.DCAL.GLCA.READOUT": ("cls", "mean", "cls+local"),
    "MODEL.DCAL.GLCA.SELECTION": ("rollout", "last", "penultimate", "random"),
    "MODEL.DCAL.GLCA.KEYS": ("all", "local"),
    "MODEL.DCAL.GLCA.INIT": ("copy", "fresh"),
    "MODEL.DCAL.PWCA.DISTRACTOR_STREAM": ("sa", "pwca"),
    "MODEL.DCAL.PWCA.NECK_STATISTICS": ("sa", "sa+pwca"),
    "MODEL.DCAL.PWCA.DISTRACTORS": ("batch", "noise", "noise_image", "external"),
    "MODEL.HEADS.NECK_FEAT": ("before", "after"),
    "MODEL.HEADS.NORM": ("BN", "syncBN", "GhostBN", "GN"),
    "MODEL.HEADS.POOL_LAYER": pooling.__all__,
    "MODEL.HEADS.CLS_LAYER": ("Linear", "ArcSoftmax", "CosSoftmax", "CircleSoftmax"),
    "INPUT.CROP.METHOD": ("scaled", "fixed"),
    "DATALOADER.BROKEN_IMAGES": ("stop", "skip"),
    "SOLVER.OPT": OPTIMIZERS,
    "SOLVER.SCHED": ("CosineAnnealingLR", "MultiStepLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.AMP.DTYPE": ("bf16", "fp16"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("norm", "value"),
}

# Positive, or at least the number given.
_AT_LEAST = {
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.CHECKPOINT_KEEP": 0,
    "SOLVER.LOG_PERIOD": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.LR_FOR_BATCH": 0,
    "SOLVER.ACCUMULATE": 1,
    "TEST.IMS_PER_BATCH": 1,
    "TEST.EVAL_PERIOD": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "MODEL.DCAL.GLCA.NUM_BLOCKS": 0,
    "MODEL.DCAL.PWCA.NUM_BLOCKS": 0,
}

_DROPPED = ("MODEL.BACKBONE.DROP_RATIO", "MODEL.BACKBONE.ATT_DROP_RATE", "MODEL.BACKBONE.DROP_PATH_RATIO")

# NumPy's seeds have 32 bits, and each process adds its number.
_MOST_SEEDS = 2**31

# What fast-reid's own baseline cannot do would be ignored, or fail in the first step.
_FASTREID_BASELINE = {
    "MODEL.DCAL.GLCA.NUM_BLOCKS": 0,
    "MODEL.DCAL.PWCA.NUM_BLOCKS": 0,
    "MODEL.NOISE.IMAGE": 0,
    "MODEL.NOISE.LABEL": 0,
    "MODEL.ACTIVATION_CHECKPOINTING": False,
}

# What leaves a feature as it is; others clamp what is negative, or double it.
_POOL_LAYERS = ("Identity", "Flatten", "GlobalAvgPool", "FastGlobalAvgPool", "GlobalMaxPool")

# What a CUDA graph cannot hold, or has not been tried with.
_WITH_CUDA_GRAPH = {
    "MODEL.META_ARCHITECTURE": "DCAL",
    "MODEL.HEADS.CLS_LAYER": "Linear",  # fast-reid's others look for the labels that are not -1
    "MODEL.COMPILE": False,
    "MODEL.ACTIVATION_CHECKPOINTING": False,
    "SOLVER.ACCUMULATE": 1,
}


def check_config(cfg: CfgNode) -> None:
    """Refuse what cannot work and what fast-reid gets silently wrong.

    Raises:
        InputError: the first thing found.
    """
    for key, choices in _CHOICES.items():
        if _value(cfg, key) not in choices:
            raise InputError(f"{key} is {_value(cfg, key)!r}; choose one of {', '.join(choices)}")
    for key, least in _AT_LEAST.items():
        if _value(cfg, key) < least:
            raise InputError(f"{key} is {_value(cfg, key)}; it must be at least {least}")
    for key in _DROPPED:
        if not 0 <= _value(cfg, key) < 1:
            raise InputError(f"{key} is {_value(cfg, key)}; give the share that is dropped, at least 0 and below 1")
    _check_registered(cfg)
    _check_architecture(cfg)
    _check_dcal(cfg.MODEL.DCAL)
    if cfg.MODEL.NOISE.IMAGE < 0 or not 0 <= cfg.MODEL.NOISE.LABEL <= 1:
        raise InputError(
            f"MODEL.NOISE.IMAGE is {cfg.MODEL.NOISE.IMAGE} and MODEL.NOISE.LABEL {cfg.MODEL.NOISE.LABEL}; give a "
            "standard deviation of at least 0, and a share from 0 to 1"
        )
    _check_solver(cfg)
    check_test_options(cfg.TEST)
    if not 0 < cfg.SOLVER.EMA.DECAY < 1:
        raise InputError(
            f"SOLVER.EMA.DECAY is {cfg.SOLVER.EMA.DECAY}; it must lie between 0 and 1, for instance 0.9998"
        )
    if not cfg.DATASETS.TESTS:
        raise InputError("DATASETS.TESTS is empty; name the data set to evaluate on")
    if len(set(cfg.DATASETS.TESTS)) < len(cfg.DATASETS.TESTS):
        raise InputError(f"DATASETS.TESTS is {tuple(cfg.DATASETS.TESTS)}; name each data set once")
    if not cfg.SEED < _MOST_SEEDS:
        raise InputError(f"SEED is {cfg.SEED}; give a number below {_MOST_SEEDS}, or -1 for another one in every run")
    _check_cuda_graph(cfg)
    _check_losses(cfg)
    if is_classification(cfg):
        _check_classification(cfg)
    elif cfg.DATASETS.HOLD_OUT:
        raise InputError(
            f"DATASETS.HOLD_OUT is {cfg.DATASETS.HOLD_OUT}, but it is for classification: re-identification is tested "
            "on other identities. Give some a split of their own (DATASETS.CSV), and set it 0"
        )
    _check_unsupported(cfg)


def _value(cfg: CfgNode, key: str):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _check_registered(cfg: CfgNode) -> None:
    registries: dict[str, Registry] = {
        "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
        "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
        "MODEL.HEADS.NAME": REID_HEADS_REGISTRY,
        "MODEL.DCAL.PWCA.PAIR_SAMPLER": PAIR_SAMPLER_REGISTRY,
    }
    for key, registry in registries.items():
        name, known = _value(cfg, key), registered_names(registry)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0)
            raise InputError(f"{key} is {name!r}, which is not registered; near it: {', '.join(near)}")


def _check_architecture(cfg: CfgNode) -> None:
    name = cfg.MODEL.META_ARCHITECTURE
    architecture = META_ARCH_REGISTRY.get(name)
    if getattr(architecture, "preprocess_image", architecture).__module__.startswith("fastreid."):
        fastreids = architecture.__module__.startswith("fastreid.")
        cure = "use DCAL, or for fast-reid's own baseline" if fastreids else "derive it from"
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {name!r}, whose preprocess_image, fast-reid's, cannot take the loader's uint8 "
            f"images; {cure} FastReIDBaseline"
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
        if _value(cfg, key) != only:
            raise InputError(
                f"{key} is {_value(cfg, key)!r}; with MODEL.META_ARCHITECTURE {name} it can only be {only!r}"
            )
    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    if not issubclass(head, EmbeddingHead) or issubclass(head, DCALHead | ClasHead):
        raise InputError(
            f"MODEL.HEADS.NAME is {cfg.MODEL.HEADS.NAME!r}; with MODEL.META_ARCHITECTURE {name} it can only be "
            "'EmbeddingHead' or a head of your own that is derived from it"
        )


def _check_fits_dcal(key: str, registry: Registry, cfg: CfgNode, ours: str) -> None:
    """fast-reid's own give and take feature maps, where the branches have tokens."""
    name = _value(cfg, key)
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
    if len(dcal.LOSS_WEIGHTS_INIT) != 3:
        raise InputError(
            f"MODEL.DCAL.LOSS_WEIGHTS_INIT is {dcal.LOSS_WEIGHTS_INIT}; give three numbers, for sa, glca and pwca"
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


def _check_solver(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if not solver.BASE_LR > 0:
        raise InputError(f"SOLVER.BASE_LR is {solver.BASE_LR}; give a learning rate above 0")
    if solver.OPT == "SGD" and solver.NESTEROV and not solver.MOMENTUM > 0:
        raise InputError(f"SOLVER.NESTEROV needs a momentum, and SOLVER.MOMENTUM is {solver.MOMENTUM}; set it above 0")
    if solver.SCHED == "CosineAnnealingLR" and solver.ETA_MIN_LR > solver.BASE_LR:
        raise InputError(
            f"SOLVER.ETA_MIN_LR, where the learning rate ends, is {solver.ETA_MIN_LR}, more than SOLVER.BASE_LR "
            f"{solver.BASE_LR}; set it lower"
        )
    if solver.SCHED == "MultiStepLR" and solver.DELAY_EPOCHS > 0:
        raise InputError(
            f"SOLVER.DELAY_EPOCHS is {solver.DELAY_EPOCHS}, but SOLVER.SCHED MultiStepLR goes down at the epochs of "
            "SOLVER.STEPS alone; set it 0, and give later STEPS"
        )
    if list(solver.STEPS) != sorted(set(solver.STEPS)):
        raise InputError(f"SOLVER.STEPS is {list(solver.STEPS)}; give each epoch once, in ascending order")


def _check_cuda_graph(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if not solver.CUDA_GRAPH:
        return
    if solver.AMP.ENABLED and solver.AMP.DTYPE != "bf16":
        raise InputError(f"SOLVER.AMP.DTYPE is {solver.AMP.DTYPE!r}; with SOLVER.CUDA_GRAPH it can only be 'bf16'")
    for key, only in _WITH_CUDA_GRAPH.items():
        if _value(cfg, key) != only:
            raise InputError(f"{key} is {_value(cfg, key)!r}; with SOLVER.CUDA_GRAPH it can only be {only!r}")


def _check_losses(cfg: CfgNode) -> None:
    names, tri = cfg.MODEL.LOSSES.NAME, cfg.MODEL.LOSSES.TRI
    unknown = set(names) - {"CrossEntropyLoss", "TripletLoss"}
    if unknown or not names:
        raise InputError(f"MODEL.LOSSES.NAME is {tuple(names)}; choose CrossEntropyLoss, TripletLoss or both")
    if "TripletLoss" in names and not tri.HARD_MINING and not tri.NORM_FEAT:
        raise InputError(
            "MODEL.LOSSES.TRI.HARD_MINING is False: fast-reid's soft mining gives wrong gradients for features of a "
            "vision transformer's length; set it True"
        )
    if "TripletLoss" in names and cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        raise InputError(
            "MODEL.LOSSES.NAME has TripletLoss, but DATALOADER.SAMPLER_TRAIN TrainingSampler does not put several "
            "images of an identity in a batch; use NaiveIdentitySampler"
        )
    if "TripletLoss" in names and cfg.DATALOADER.NUM_INSTANCE < 2:
        raise InputError(
            f"DATALOADER.NUM_INSTANCE is {cfg.DATALOADER.NUM_INSTANCE}, but MODEL.LOSSES.NAME has TripletLoss, which "
            "compares images of one identity; set it 2 or more"
        )
    if not 0 <= cfg.MODEL.LOSSES.CE.EPSILON < 1:
        raise InputError(
            f"MODEL.LOSSES.CE.EPSILON is {cfg.MODEL.LOSSES.CE.EPSILON}; give the share of a label that goes to the "
            "others, at least 0 and below 1"
        )
    if cfg.MODEL.HEADS.CLS_LAYER == "ArcSoftmax":
        raise InputError(
            "MODEL.HEADS.CLS_LAYER is ArcSoftmax, which in fast-reid gives NaN once a cosine is rounded above 1; use "
            "Linear, CosSoftmax or CircleSoftmax"
        )


def _check_classification(cfg: CfgNode) -> None:
    names, tests = tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TESTS)
    if len(names) != 1 or names != tests:
        raise InputError(
            f"DATASETS.NAMES is {names} and DATASETS.TESTS {tests}; classification is trained and tested on one data "
            "set, so name the same one in both"
        )
    if cfg.DATASETS.HOLD_OUT and cfg.DATASETS.HOLD_OUT < 2:
        raise InputError(
            f"DATASETS.HOLD_OUT is {cfg.DATASETS.HOLD_OUT}; 3 holds every third training image out, 0 holds none out"
        )
    if cfg.DATASETS.COMBINEALL:
        raise InputError("DATASETS.COMBINEALL is True, but classification must not train on its test images")
    for option in ("RERANK", "AQE", "ROC"):
        if cfg.TEST[option].ENABLED:
            raise InputError(f"TEST.{option}.ENABLED is True, but it is for re-identification; set it False")
    if cfg.TEST.SAVE_FEATURES:
        raise InputError("TEST.SAVE_FEATURES is True, but classification has no features to score; set it False")


def _check_unsupported(cfg: CfgNode) -> None:
    if cfg.MODEL.FREEZE_LAYERS:
        raise InputError(
            f"MODEL.FREEZE_LAYERS is {cfg.MODEL.FREEZE_LAYERS}; freezing is not supported, because fast-reid's lasts "
            "only until the first evaluation"
        )
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise InputError("TEST.PRECISE_BN.ENABLED is True; it is not supported, a BNNeck's running statistics are used")
    patch = tuple(cfg.MODEL.BACKBONE.STRIDE_SIZE)
    if patch != (16, 16):
        raise InputError(
            f"MODEL.BACKBONE.STRIDE_SIZE is {patch}; the patches of timm's models do not overlap. For another patch "
            "size set MODEL.BACKBONE.TIMM_MODEL or TIMM_KWARGS.patch_size"
        )
