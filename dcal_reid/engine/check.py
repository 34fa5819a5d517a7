"""Refuse invalid configurations before anything is built, saying what is wrong, with which value, and what to do."""

from fastreid.config import CfgNode
from fastreid.layers import pooling

from ..config import value_of
from ..data.transforms import build_transforms
from ..errors import InputError
from ..evaluation.scoring import check_test_options
from ..task import is_classification
from .check_architecture import check_architecture
from .solver import OPTIMIZERS

__all__ = ["check_config", "check_smoothing"]

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
    "INPUT.PADDING.MODE": ("constant", "edge", "reflect", "symmetric"),
    "DATALOADER.BROKEN_IMAGES": ("stop", "skip"),
    "SOLVER.OPT": OPTIMIZERS,
    "SOLVER.SCHED": ("CosineAnnealingLR", "MultiStepLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.AMP.DTYPE": ("bf16", "fp16"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("norm", "value"),
}

_AT_LEAST = {
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.CHECKPOINT_KEEP": 0,
    "SOLVER.LOG_PERIOD": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.WARMUP_FACTOR": 0,
    "SOLVER.ETA_MIN_LR": 0,
    "SOLVER.GAMMA": 0,
    "SOLVER.LR_FOR_BATCH": 0,
    "SOLVER.MOMENTUM": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "SOLVER.WEIGHT_DECAY_NORM": 0,
    "SOLVER.WEIGHT_DECAY_BIAS": 0,
    "SOLVER.BIAS_LR_FACTOR": 0,
    "SOLVER.HEADS_LR_FACTOR": 0,
    "MODEL.DCAL.LOSS_WEIGHTS_LR_FACTOR": 0,
    "MODEL.LOSSES.CE.SCALE": 0,
    "MODEL.LOSSES.TRI.SCALE": 0,
    "SOLVER.ACCUMULATE": 1,
    "TEST.IMS_PER_BATCH": 1,
    "TEST.EVAL_PERIOD": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 1,
    "MODEL.DCAL.GLCA.NUM_BLOCKS": 0,
    "MODEL.DCAL.PWCA.NUM_BLOCKS": 0,
}

_THREE = {
    "MODEL.PIXEL_MEAN": "red, green and blue",
    "MODEL.PIXEL_STD": "red, green and blue",
    "MODEL.DCAL.LOSS_WEIGHTS_INIT": "sa, glca and pwca",
}

_DROPPED = ("MODEL.BACKBONE.DROP_RATIO", "MODEL.BACKBONE.ATT_DROP_RATE", "MODEL.BACKBONE.DROP_PATH_RATIO")

# NumPy's seeds have 32 bits, and each process adds its rank.
_MOST_SEEDS = 2**31


def check_config(cfg: CfgNode) -> None:
    """Refuse settings that cannot work, and settings that fast-reid silently gets wrong.

    Raises:
        InputError: names the first problem found.
    """
    for key, choices in _CHOICES.items():
        if value_of(cfg, key) not in choices:
            raise InputError(f"{key} is {value_of(cfg, key)!r}; choose one of {', '.join(choices)}")
    for key, least in _AT_LEAST.items():
        if value_of(cfg, key) < least:
            raise InputError(f"{key} is {value_of(cfg, key)}; it must be at least {least}")
    for key, what in _THREE.items():
        values = value_of(cfg, key)
        if len(values) != 3 or not all(isinstance(value, int | float) for value in values):
            raise InputError(f"{key} is {list(values)}; give three numbers, for {what}")
    if min(cfg.MODEL.PIXEL_STD) <= 0:
        raise InputError(f"MODEL.PIXEL_STD is {list(cfg.MODEL.PIXEL_STD)}, which divides pixels; give numbers above 0")
    for key in _DROPPED:
        if not 0 <= value_of(cfg, key) < 1:
            raise InputError(f"{key} is {value_of(cfg, key)}; give the share that is dropped, at least 0 and below 1")
    check_architecture(cfg)
    _check_pretrained(cfg)
    if cfg.MODEL.NOISE.IMAGE < 0 or not 0 <= cfg.MODEL.NOISE.LABEL <= 1:
        raise InputError(
            f"MODEL.NOISE.IMAGE is {cfg.MODEL.NOISE.IMAGE} and MODEL.NOISE.LABEL {cfg.MODEL.NOISE.LABEL}; give a "
            "standard deviation of at least 0, and a share from 0 to 1"
        )
    for is_train in (True, False):
        build_transforms(cfg, is_train)  # has checks of its own
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
    _check_losses(cfg)
    if is_classification(cfg):
        _check_classification(cfg)
    elif cfg.DATASETS.HOLD_OUT:
        raise InputError(
            f"DATASETS.HOLD_OUT is {cfg.DATASETS.HOLD_OUT}, but it is for classification: re-identification is tested "
            "on other identities. Give some a split of their own (DATASETS.CSV), and set it 0"
        )
    _check_unsupported(cfg)


def _check_pretrained(cfg: CfgNode) -> None:
    backbone = cfg.MODEL.BACKBONE
    for key in ("PRETRAIN_PATH", "PRETRAIN_SIZE"):
        if backbone[key] and not backbone.PRETRAIN and not cfg.MODEL.WEIGHTS:  # MODEL.WEIGHTS replaces them
            raise InputError(
                f"MODEL.BACKBONE.{key} is {backbone[key]!r} but MODEL.BACKBONE.PRETRAIN is False; set it True"
            )


def _check_solver(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if not solver.BASE_LR > 0:
        raise InputError(f"SOLVER.BASE_LR is {solver.BASE_LR}; give a learning rate above 0")
    if solver.OPT == "SGD" and solver.NESTEROV and not solver.MOMENTUM > 0:
        raise InputError(f"SOLVER.NESTEROV needs a momentum, and SOLVER.MOMENTUM is {solver.MOMENTUM}; set it above 0")
    clip = solver.CLIP_GRADIENTS
    if clip.ENABLED and not clip.CLIP_VALUE > 0:
        raise InputError(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE is {clip.CLIP_VALUE}; give a limit above 0, or do not clip")
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
    if list(solver.STEPS) != sorted({step for step in solver.STEPS if isinstance(step, int | float)}):
        raise InputError(f"SOLVER.STEPS is {list(solver.STEPS)}; give each epoch once, in ascending order")


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


def check_smoothing(cfg: CfgNode) -> None:
    """Check label smoothing once the number of classes is known.

    Raises:
        InputError: each of the other classes would get at least as large a share of a label as the class that it names.
    """
    epsilon, classes = cfg.MODEL.LOSSES.CE.EPSILON, cfg.MODEL.HEADS.NUM_CLASSES
    if epsilon and epsilon >= 1 - 1 / classes:
        raise InputError(
            f"MODEL.LOSSES.CE.EPSILON is {epsilon}; with {classes} classes it must be below {1 - 1 / classes:g}, or "
            "labels carry no information"
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
            f"MODEL.FREEZE_LAYERS is {cfg.MODEL.FREEZE_LAYERS}; freezing is not supported: after the first evaluation "
            "fast-reid's frozen layers are back in training mode; set it []"
        )
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise InputError("TEST.PRECISE_BN.ENABLED is True; it is not supported, a BNNeck's running statistics are used")
    patch = tuple(cfg.MODEL.BACKBONE.STRIDE_SIZE)
    if patch != (16, 16):
        raise InputError(
            f"MODEL.BACKBONE.STRIDE_SIZE is {patch}; the patches of timm's models do not overlap. For another patch "
            "size set MODEL.BACKBONE.TIMM_MODEL or TIMM_KWARGS.patch_size"
        )
