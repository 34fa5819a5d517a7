import pytest
import torch
from helpers.config_values import set_value

from dcal_reid.data.transforms import build_transforms
from dcal_reid.engine.check import check_config, check_smoothing
from dcal_reid.errors import InputError


def test_accepts_the_tiny_configuration(tiny_cfg):
    check_config(tiny_cfg)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.DCAL.GLCA.READOUT", "max", "choose one of cls, mean, cls+local"),
        ("MODEL.DCAL.GLCA.NUM_BLOCKS", -1, "-1"),
        ("MODEL.DCAL.PWCA.DISTRACTORS", "coco", "choose one of batch, noise, noise_image, external"),
        ("MODEL.DCAL.GLCA.SELECTION", "first", "choose one of rollout, last, penultimate, random"),
        ("MODEL.NOISE.LABEL", 1.5, "a share from 0 to 1"),
        ("SOLVER.ACCUMULATE", 0, "at least 1"),
        ("SOLVER.EMA.DECAY", 1.0, "between 0 and 1"),
        ("SOLVER.BASE_LR", 0.0, "above 0"),
        ("MODEL.LOSSES.NAME", ("CircleLoss",), "CircleLoss"),
        ("MODEL.LOSSES.NAME", (), "CrossEntropyLoss"),
        ("MODEL.LOSSES.TRI.HARD_MINING", False, "soft mining"),
        ("MODEL.LOSSES.CE.EPSILON", -1.0, "-1.0"),
        ("MODEL.LOSSES.CE.EPSILON", 1.0, "below 1"),
        ("MODEL.HEADS.CLS_LAYER", "ArcSoftmax", "NaN"),
        ("MODEL.FREEZE_LAYERS", ["backbone"], "back in training mode; set it []"),
        ("MODEL.BACKBONE.STRIDE_SIZE", (12, 12), "overlap"),
        ("TEST.PRECISE_BN.ENABLED", True, "PRECISE_BN"),
        ("TEST.METRIC", "jaccard", "use cosine or euclidean with TEST.RERANK"),
        ("TEST.AP", "mean", "TEST.AP is 'mean'; use one of step, trapezoid"),
        ("TEST.EVAL_PERIOD", -1, "at least 0"),
        ("SOLVER.OPT", "Lamb", "SGD"),
        ("SOLVER.MAX_EPOCH", 0, "at least 1"),
        ("SOLVER.AMP.DTYPE", "fp8", "bf16, fp16"),
        ("DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "NaiveIdentitySampler"),
        ("DATASETS.HOLD_OUT", 3, "Give some a split of their own"),
        ("DATASETS.TESTS", (), "name the data set to evaluate on"),
        ("DATALOADER.NUM_INSTANCE", 1, "set it 2 or more"),
        ("MODEL.HEADS.POOL_LAYER", "GeMPool", "is 'GeMPool'; choose one of Identity, Flatten, GlobalAvgPool"),
        ("MODEL.HEADS.NORM", "SyncBN", "choose one of BN, syncBN"),
        ("MODEL.HEADS.CLS_LAYER", "arcface", "choose one of Linear"),
        ("MODEL.BACKBONE.DROP_PATH_RATIO", 1.5, "at least 0 and below 1"),
        ("MODEL.BACKBONE.DROP_RATIO", -0.1, "-0.1"),
        ("DATASETS.TESTS", ("VeRi", "VeRi"), "name each data set once"),
        ("SOLVER.STEPS", [30, 10], "in ascending order"),
        ("SOLVER.STEPS", ["30", 40], "in ascending order"),
        ("SOLVER.WARMUP_FACTOR", -1.0, "SOLVER.WARMUP_FACTOR is -1.0; it must be at least 0"),
        ("SOLVER.ETA_MIN_LR", -1e-5, "at least 0"),
        ("SOLVER.GAMMA", -0.1, "at least 0"),
        ("MODEL.LOSSES.TRI.SCALE", -1.0, "at least 0"),
        ("DATALOADER.NUM_INSTANCE", 0, "at least 1"),
        ("SOLVER.MOMENTUM", -0.9, "SOLVER.MOMENTUM is -0.9; it must be at least 0"),
        ("SOLVER.WEIGHT_DECAY", -1e-4, "SOLVER.WEIGHT_DECAY is -0.0001; it must be at least 0"),
        ("SOLVER.WEIGHT_DECAY_BIAS", -1.0, "at least 0"),
        ("SOLVER.BIAS_LR_FACTOR", -1.0, "at least 0"),
        ("MODEL.DCAL.LOSS_WEIGHTS_LR_FACTOR", -1.0, "at least 0"),
        ("MODEL.DCAL.LOSS_WEIGHTS_INIT", [0.0], "is [0.0]; give three numbers, for sa, glca and pwca"),
        ("MODEL.DCAL.LOSS_WEIGHTS_INIT", ["0", "0", "0"], "give three numbers, for sa, glca and pwca"),
        ("MODEL.PIXEL_MEAN", [127.5], "PIXEL_MEAN is [127.5]; give three numbers, for red, green and blue"),
        ("MODEL.PIXEL_STD", [0.0, 1.0, 1.0], "PIXEL_STD is [0.0, 1.0, 1.0], which divides pixels"),
        ("SEED", 2**32, "4294967296"),
        ("INPUT.SIZE_TRAIN", [0, 0], "INPUT.SIZE_TRAIN is [0, 0]; give [height, width]"),
        ("INPUT.SIZE_TEST", [64, -32], "INPUT.SIZE_TEST is [64, -32]; give [height, width]"),
        ("INPUT.PADDING.MODE", "reflct", "'reflct'; choose one of constant, edge, reflect, symmetric"),
    ],
)
def test_names_the_key_the_value_and_the_cure(tiny_cfg, key, value, words):
    set_value(tiny_cfg, key, value)
    with pytest.raises(InputError) as error:
        check_config(tiny_cfg)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_nesterov_needs_momentum(tiny_cfg):
    tiny_cfg.SOLVER.OPT, tiny_cfg.SOLVER.NESTEROV, tiny_cfg.SOLVER.MOMENTUM = "SGD", True, 0.0
    with pytest.raises(InputError, match=r"SOLVER\.MOMENTUM is 0\.0"):
        check_config(tiny_cfg)


@pytest.mark.parametrize(
    ("option", "key", "words"), [("RERANK", "K1", "needs k1"), ("AQE", "QE_K", "expansion needs k")]
)
def test_what_evaluation_needs_is_asked_for_before_training(tiny_cfg, option, key, words):
    tiny_cfg.TEST[option].ENABLED, tiny_cfg.TEST[option][key] = True, 0
    with pytest.raises(InputError, match=words):
        check_config(tiny_cfg)


def test_steps_have_no_delay(tiny_cfg):
    tiny_cfg.SOLVER.SCHED, tiny_cfg.SOLVER.DELAY_EPOCHS = "MultiStepLR", 30
    with pytest.raises(InputError, match=r"DELAY_EPOCHS is 30, but .* give later STEPS"):
        check_config(tiny_cfg)
    tiny_cfg.SOLVER.SCHED = "CosineAnnealingLR"
    check_config(tiny_cfg)


def test_a_cosine_goes_down(tiny_cfg):
    tiny_cfg.SOLVER.SCHED, tiny_cfg.SOLVER.ETA_MIN_LR = "CosineAnnealingLR", 1.0
    with pytest.raises(InputError, match=r"more than SOLVER\.BASE_LR"):
        check_config(tiny_cfg)


@pytest.mark.parametrize(("mode", "most"), [("reflect", 31), ("symmetric", 32)])
def test_a_border_has_what_it_is_made_of(tiny_cfg, mode, most):
    padding = tiny_cfg.INPUT.PADDING
    padding.ENABLED, padding.MODE, padding.SIZE = True, mode, most
    check_config(tiny_cfg)
    transform = build_transforms(tiny_cfg)
    assert transform(torch.zeros((3, 64, 32), dtype=torch.uint8)).shape == (3, 64, 32)
    padding.SIZE = most + 1
    with pytest.raises(InputError, match=f"PADDING.SIZE is {most + 1}; with .* {mode} give from 0 to {most}"):
        check_config(tiny_cfg)


@pytest.mark.parametrize(("key", "value"), [("PRETRAIN_PATH", "weights.pth"), ("PRETRAIN_SIZE", [64, 32])])
def test_pretrained_weights_need_pretrain(tiny_cfg, key, value):
    tiny_cfg.MODEL.BACKBONE[key] = value
    with pytest.raises(InputError, match=rf"{key} is .*\.PRETRAIN is False; set it True"):
        check_config(tiny_cfg)
    tiny_cfg.MODEL.WEIGHTS = "model_best.pth"  # a checkpoint replaces them
    check_config(tiny_cfg)


@pytest.mark.parametrize(("classes", "epsilon", "least"), [(2, 0.5, "0.5"), (4, 0.8, "0.75"), (1, 0.1, "0")])
def test_a_label_counts_more_than_the_others(tiny_cfg, classes, epsilon, least):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = classes
    check_smoothing(tiny_cfg)
    tiny_cfg.MODEL.LOSSES.CE.EPSILON = epsilon
    with pytest.raises(InputError, match=f"EPSILON is {epsilon}; with {classes} classes it must be below {least},"):
        check_smoothing(tiny_cfg)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_gradients_are_clipped_to_something(tiny_cfg, value):
    """Clipping to 0 trains nothing, and below 0 it drives the loss up."""
    clip = tiny_cfg.SOLVER.CLIP_GRADIENTS
    clip.CLIP_VALUE, clip.ENABLED = value, False
    check_config(tiny_cfg)
    clip.ENABLED = True
    with pytest.raises(InputError, match=f"CLIP_VALUE is {value}; give a limit above 0"):
        check_config(tiny_cfg)
