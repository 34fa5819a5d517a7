"""The classification configs against the paper (Zhu et al., CVPR 2022, sec. 4), its figures typed in again."""

from pathlib import Path

import pytest
import torch
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import build_model

import dcal_reid
from dcal_reid.data.transforms import build_transforms
from dcal_reid.engine.solver import base_learning_rate, learning_rate_factor
from dcal_reid.modeling import DCALClassificationHead

CONFIGS = Path(__file__).parents[1] / "configs"
DATASETS = {"cub": "CUB200", "cars": "StanfordCars", "aircraft": "FGVCAircraft"}
MODELS = {
    "deit_t": ("deit_tiny_patch16_224.fb_in1k", 192),
    "deit_s": ("deit_small_patch16_224.fb_in1k", 384),
    "deit_b": ("deit_base_patch16_224.fb_in1k", 768),
    "vitb": ("vit_base_patch16_224.orig_in21k", 768),
    "r50_vitb": ("vit_base_r50_s16_224.orig_in21k", 768),
    "cait_xs24": ("cait_xs24_384.fb_dist_in1k", 288),
    "swin_t": ("swin_tiny_patch4_window7_224.ms_in1k", 768),
}
# Table 1: top-1 on CUB-200-2011, Stanford Cars, FGVC-Aircraft.
TABLE_1 = """
baseline deit_t  82.1 87.2 84.7
dcal     deit_t  84.6 89.4 87.4
baseline deit_s  85.8 90.7 88.1
dcal     deit_s  87.6 92.3 90.0
baseline deit_b  88.0 92.9 90.3
dcal     deit_b  88.8 93.8 92.6
baseline vitb    90.8 92.5 90.0
dcal     vitb    91.4 93.4 91.5
baseline r50_vitb 91.3 94.0 92.4
dcal     r50_vitb 92.0 95.3 93.3
"""
PUBLISHED = {
    (dataset, method, model): figures[column]
    for method, model, *figures in (line.split() for line in TABLE_1.strip().splitlines())
    for column, dataset in enumerate(DATASETS)
}


# "More Transformer baselines", on CUB-200-2011.
TEXT = {
    ("cub", "baseline", "cait_xs24"): "88.5",
    ("cub", "dcal", "cait_xs24"): "89.7",
    ("cub", "baseline", "swin_t"): "84.9",
    ("cub", "dcal", "swin_t"): "85.8",
}
# GLCA and PWCA blocks of DCAL where they are not 1 and 12.
BLOCKS = {"cait_xs24": (1, 26), "swin_t": (0, 12)}


def path_of(dataset, method, model):
    return CONFIGS / dataset / f"{method}_{model}.yml"


@pytest.fixture(params=[*PUBLISHED, *TEXT], ids="/".join)
def leaf(request):
    return request.param


@pytest.fixture
def cfg(leaf):
    cfg = dcal_reid.get_cfg()
    cfg.merge_from_file(str(path_of(*leaf)))
    return cfg


def test_there_is_one_leaf_for_every_figure():
    found = {path for dataset in DATASETS for path in (CONFIGS / dataset).iterdir()}
    assert found == {path_of(*leaf) for leaf in [*PUBLISHED, *TEXT]} | {CONFIGS / "cub" / "crossvit_small.yml"}
    assert len(PUBLISHED) == 30


def test_data(leaf, cfg):
    assert tuple(cfg.DATASETS.NAMES) == tuple(cfg.DATASETS.TESTS) == (DATASETS[leaf[0]],)
    assert DATASET_REGISTRY.get(DATASETS[leaf[0]])
    assert cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler"


def test_images_are_550_of_which_448(cfg):
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [550, 550]
    steps = [repr(step) for step in build_transforms(cfg, is_train=True).transforms]
    assert len(steps) == 3
    assert "size=[550, 550]" in steps[0]
    assert steps[1].startswith("RandomCrop(size=(448, 448)") and "padding=" not in steps[1]
    assert steps[2] == "RandomHorizontalFlip(p=0.5)"
    resize, crop = (repr(step) for step in build_transforms(cfg, is_train=False).transforms)
    assert "size=[550, 550]" in resize
    assert crop == "CenterCrop(size=(448, 448))"


def test_optimiser_and_schedule(cfg):
    solver = cfg.SOLVER
    assert (solver.OPT, solver.IMS_PER_BATCH, solver.MAX_EPOCH) == ("AdamW", 16, 100)
    assert base_learning_rate(cfg) == pytest.approx(5e-4 / 512 * 16)
    assert solver.WEIGHT_DECAY == 0.05
    factors = [learning_rate_factor(cfg, iteration, 374) for iteration in (0, 18700, 37399)]
    assert factors == pytest.approx([1, 0.5, 0], abs=1e-4)


def test_loss_is_plain_cross_entropy(cfg):
    assert tuple(cfg.MODEL.LOSSES.NAME) == ("CrossEntropyLoss",)
    assert (cfg.MODEL.LOSSES.CE.EPSILON, cfg.MODEL.LOSSES.CE.SCALE) == (0, 1)
    assert cfg.MODEL.DCAL.LOSS_WEIGHTS == "learned"


def test_model_builds(leaf, cfg):
    """On the meta device: shapes without memory."""
    _, method, model_name = leaf
    timm_model, width = MODELS[model_name]
    assert timm_model == cfg.MODEL.BACKBONE.TIMM_MODEL
    assert cfg.MODEL.BACKBONE.PRETRAIN and cfg.MODEL.BACKBONE.DROP_PATH_RATIO == 0.1
    assert cfg.MODEL.DCAL.GLCA.RATIO == 0.1
    blocks = BLOCKS.get(model_name, (1, 12)) if method == "dcal" else (0, 0)
    assert blocks == (cfg.MODEL.DCAL.GLCA.NUM_BLOCKS, cfg.MODEL.DCAL.PWCA.NUM_BLOCKS)
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 200
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.backbone.grid_size == (None if model_name == "swin_t" else (28, 28))
    assert model.backbone.embed_dim == width
    assert all(type(head) is DCALClassificationHead for head in model.heads.values())
    assert model.heads["sa"].weight.shape == (200, width)
    assert len(model.heads["sa"].bottleneck) == 0


def test_comment_names_the_published_figure_and_the_command(leaf):
    path = path_of(*leaf)
    aim, command = path.read_text().splitlines()[:2]
    account = "An extended account of the paper: top-1"
    words = f"Table 1 of the paper: top-1 {PUBLISHED[leaf]}." if leaf in PUBLISHED else f"{account} {TEXT[leaf]}."
    assert aim.startswith("# ") and aim.endswith(words)
    assert command == f"# python tools/train_net.py --config-file {path.relative_to(CONFIGS.parent)}"


def test_run_folder_is_the_leafs_own(leaf, cfg):
    dataset, method, model = leaf
    assert f"logs/{dataset}/{method}_{model}" == cfg.OUTPUT_DIR


def test_crossvit_is_a_baseline():
    cfg = dcal_reid.get_cfg()
    cfg.merge_from_file(str(CONFIGS / "cub" / "crossvit_small.yml"))
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 200
    with torch.device("meta"):
        assert build_model(cfg).heads["sa"].weight.shape == (200, 192 + 384)
