"""The re-ID configs against the paper (Zhu et al., CVPR 2022, sec. 4.1 and table 2), typed in here a second time; and
what holds for every config."""

from pathlib import Path

import pytest
import torch
import yaml
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import build_model
from helpers.config_values import differing, flat

import dcal_reid
from dcal_reid.engine.check import check_config
from dcal_reid.engine.solver import learning_rate_factor
from dcal_reid.modeling.backbones import pixel_statistics

CONFIGS = Path(__file__).parents[1] / "configs"

# Data set: names for training and test, (height, width), official number of training images.
DATASETS = {
    "veri": ("VeRi", "VeRi", [256, 256], 37778),
    "msmt17": ("MSMT17TrainVal", "MSMT17", [256, 128], 32621),
    "market1501": ("Market1501", "Market1501", [256, 128], 12936),
    "dukemtmc": ("DukeMTMC", "DukeMTMC", [256, 128], 16522),
}
MODELS = {
    "deit_t": "deit_tiny_patch16_224.fb_in1k",
    "deit_s": "deit_small_patch16_224.fb_in1k",
    "deit_b": "deit_base_patch16_224.fb_in1k",
    "vitb": "vit_base_patch16_224.orig_in21k",
}
# Table 2: mAP, rank-1 on VeRi-776, MSMT17, Market-1501, DukeMTMC-reID.
TABLE_2 = """
baseline deit_t  71.3 94.3  42.1 63.9  77.9 90.3  69.5 82.9
dcal     deit_t  74.1 94.7  44.9 68.2  79.8 91.8  71.7 84.9
baseline deit_s  76.7 95.5  53.3 75.0  84.3 93.7  75.7 87.6
dcal     deit_s  78.1 95.9  55.1 77.3  85.3 94.0  77.4 87.9
baseline deit_b  78.3 95.9  60.5 81.6  86.6 94.4  79.1 88.7
dcal     deit_b  80.0 96.5  62.3 83.1  87.2 94.5  80.2 89.6
baseline vitb    78.1 96.0  61.6 81.4  87.1 94.3  78.9 89.4
dcal     vitb    80.2 96.9  64.0 83.1  87.5 94.7  80.1 89.0
"""
PUBLISHED = {
    (dataset, method, model): (figures[2 * column], figures[2 * column + 1])
    for method, model, *figures in (line.split() for line in TABLE_2.strip().splitlines())
    for column, dataset in enumerate(DATASETS)
}
LEAVES = list(PUBLISHED)
LEAF_FILES = [CONFIGS / dataset / f"{method}_{model}.yml" for dataset, method, model in LEAVES]
IDS = [f"{dataset}/{method}_{model}" for dataset, method, model in LEAVES]
# Configs from an extended account of the paper, with their mAP.
SWIN_FILES = {CONFIGS / "msmt17" / "dcal_swin_t.yml": "56.7", CONFIGS / "msmt17" / "baseline_swin_t.yml": "55.7"}
# All configs that tools/train_net.py accepts.
RUNNABLE = sorted(path for path in CONFIGS.rglob("*.yml") if path.parent != CONFIGS)


def name(path):
    return str(path.relative_to(CONFIGS))


def load(path):
    cfg = dcal_reid.get_cfg()
    cfg.merge_from_file(str(path))
    return cfg


@pytest.fixture(params=LEAVES, ids="/".join)
def leaf(request):
    return request.param


@pytest.fixture
def cfg(leaf):
    return load(LEAF_FILES[LEAVES.index(leaf)])


def test_there_is_one_leaf_for_every_figure_of_table_2():
    found = {path for dataset in DATASETS for path in (CONFIGS / dataset).iterdir()}
    assert found == {*LEAF_FILES, *SWIN_FILES}
    assert len(LEAF_FILES) == 32


def test_data(leaf, cfg):
    train, test, size, _ = DATASETS[leaf[0]]
    assert tuple(cfg.DATASETS.NAMES) == (train,)
    assert tuple(cfg.DATASETS.TESTS) == (test,)
    assert DATASET_REGISTRY.get(train) and DATASET_REGISTRY.get(test)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == size


def test_batches_of_16_identities_with_4_images(cfg):
    assert cfg.SOLVER.IMS_PER_BATCH == 64
    assert cfg.DATALOADER.NUM_INSTANCE == 4
    assert cfg.DATALOADER.SAMPLER_TRAIN == "NaiveIdentitySampler"


def test_optimiser(cfg):
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.MOMENTUM) == ("SGD", 0.008, 0.9)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == solver.WEIGHT_DECAY_BIAS == 1e-4
    assert solver.BIAS_LR_FACTOR == 2
    assert not solver.CLIP_GRADIENTS.ENABLED


def test_schedule_warms_up_for_five_epochs_and_ends_after_120(leaf, cfg):
    iters_per_epoch = DATASETS[leaf[0]][3] // 64
    assert cfg.SOLVER.MAX_EPOCH == 120
    assert 5 * iters_per_epoch == cfg.SOLVER.WARMUP_ITERS
    factors = [
        learning_rate_factor(cfg, iteration, iters_per_epoch)
        for iteration in (0, 5 * iters_per_epoch, 62.5 * iters_per_epoch, 120 * iters_per_epoch - 1)
    ]
    # Halfway between the ends of the cosine, the rate has fallen by half.
    assert factors == pytest.approx([0.01, 1.0, 0.501, 0.002], abs=1e-3)


def test_losses(cfg):
    losses = cfg.MODEL.LOSSES
    assert tuple(losses.NAME) == ("CrossEntropyLoss", "TripletLoss")
    assert losses.CE.EPSILON == 0
    assert (losses.TRI.HARD_MINING, losses.TRI.NORM_FEAT, losses.TRI.MARGIN) == (True, False, 0)
    assert (losses.CE.SCALE, losses.TRI.SCALE) == (1, 1)
    assert (cfg.MODEL.HEADS.WITH_BNNECK, cfg.MODEL.HEADS.NECK_FEAT) == (True, "before")
    assert cfg.MODEL.DCAL.LOSS_WEIGHTS == "learned"


def test_augmentation(cfg):
    inputs = cfg.INPUT
    assert (inputs.FLIP.ENABLED, inputs.FLIP.PROB) == (True, 0.5)
    assert (inputs.PADDING.ENABLED, inputs.PADDING.SIZE) == (True, 10)
    assert (inputs.REA.ENABLED, inputs.REA.PROB) == (True, 0.5)
    assert not any(inputs[other].ENABLED for other in ("CROP", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "RPT"))


def test_model(leaf, cfg):
    _, method, model = leaf
    assert cfg.MODEL.META_ARCHITECTURE == "DCAL"
    assert cfg.MODEL.BACKBONE.NAME == "build_timm_backbone"
    assert MODELS[model] == cfg.MODEL.BACKBONE.TIMM_MODEL
    assert cfg.MODEL.BACKBONE.PRETRAIN and not cfg.MODEL.BACKBONE.TIMM_KWARGS
    assert (cfg.MODEL.HEADS.NAME, cfg.MODEL.HEADS.POOL_LAYER) == ("DCALHead", "Identity")
    assert cfg.MODEL.DCAL.GLCA.RATIO == 0.3
    blocks = {"dcal": (1, 12), "baseline": (0, 0)}[method]
    assert blocks == (cfg.MODEL.DCAL.GLCA.NUM_BLOCKS, cfg.MODEL.DCAL.PWCA.NUM_BLOCKS)


def test_model_builds(leaf, cfg):
    """On the meta device: shapes without memory."""
    _, method, model_name = leaf
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 10
    with torch.device("meta"):
        model = build_model(cfg)
    height, width = cfg.INPUT.SIZE_TRAIN
    assert model.backbone.grid_size == (height // 16, width // 16)
    assert model.backbone.embed_dim == {"deit_t": 192, "deit_s": 384}.get(model_name, 768)
    assert len(model.backbone.blocks) == 12
    assert (model.glca is not None, model.pwca_blocks) == ((True, 12) if method == "dcal" else (False, 0))
    mean = 127.5 if model_name == "vitb" else 0.485 * 255
    assert pixel_statistics(cfg)[0][0] == pytest.approx(mean)


def test_evaluation_is_plain(cfg):
    assert cfg.TEST.METRIC == "cosine"
    assert not any(cfg.TEST[extra].ENABLED for extra in ("FLIP", "AQE", "RERANK"))


def test_run_folder_is_the_leafs_own(leaf, cfg):
    dataset, method, model = leaf
    assert f"logs/{dataset}/{method}_{model}" == cfg.OUTPUT_DIR


@pytest.mark.parametrize(("leaf", "path"), list(zip(LEAVES, LEAF_FILES, strict=True)), ids=IDS)
def test_comment_names_the_published_figures_and_the_command(leaf, path):
    aim, command = path.read_text().splitlines()[:2]
    mean_average_precision, rank_1 = PUBLISHED[leaf]
    assert aim.startswith("# ") and aim.endswith(
        f"Table 2 of the paper: mAP {mean_average_precision}, rank-1 {rank_1}."
    )
    assert command == f"# python tools/train_net.py --config-file configs/{name(path)}"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yml")), ids=name)
def test_no_config_repeats_what_its_base_says(path):
    own = yaml.safe_load(path.read_text())
    if "_BASE_" not in own:
        return
    base = dict(flat(CfgNode.load_yaml_with_base(str(path.parent / own.pop("_BASE_")))))
    repeated = [key for key, value in flat(own) if key in base and base[key] == value]
    assert repeated == []


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_config_is_accepted(path):
    check_config(load(path))


@pytest.mark.parametrize("path", [p for p in RUNNABLE if "baseline" in p.name], ids=name)
def test_baseline_is_dcal_without_its_two_branches(path):
    baseline = dict(flat(load(path)))
    dcal = dict(flat(load(path.with_name(path.name.replace("baseline", "dcal")))))
    varied = {key for key in dcal if dcal[key] != baseline[key]}
    # In these, each method has learning rates of its own (docs/tuning.md).
    rate, factor = "SOLVER.BASE_LR", "SOLVER.HEADS_LR_FACTOR"
    tuned = {"birds": {rate, factor}, "vehicles_256": {rate}, "vehicles_sgd": {rate}}.get(path.parent.name, set())
    # Swin has no GLCA to leave out.
    assert varied | {"MODEL.DCAL.GLCA.NUM_BLOCKS"} == tuned | {
        "MODEL.DCAL.GLCA.NUM_BLOCKS",
        "MODEL.DCAL.PWCA.NUM_BLOCKS",
        "OUTPUT_DIR",
    }
    assert baseline["MODEL.DCAL.GLCA.NUM_BLOCKS"] == baseline["MODEL.DCAL.PWCA.NUM_BLOCKS"] == 0


@pytest.mark.parametrize("group", ["csv", "images"])
def test_the_noise_config_is_dcal_with_other_distractors(group):
    noise, dcal = (load(CONFIGS / group / f"{name}_vit_tiny.yml") for name in ("dcal_noise", "dcal"))
    assert differing(noise, dcal) == {
        "MODEL.DCAL.PWCA.DISTRACTORS": "noise",
        "OUTPUT_DIR": f"logs/{group}/dcal_noise_vit_tiny",
    }


def test_the_glca_config_is_dcal_without_pwca():
    glca, dcal = (load(CONFIGS / "csv" / f"{name}_vit_tiny.yml") for name in ("glca", "dcal"))
    assert differing(glca, dcal) == {
        "MODEL.DCAL.PWCA.NUM_BLOCKS": 0,
        "SOLVER.HEADS_LR_FACTOR": 30.0,
        "OUTPUT_DIR": "logs/csv/glca_vit_tiny",
    }


@pytest.mark.parametrize(("config", "dataset"), [("dcal", "DemoReID"), ("dcal_fgvc", "DemoFGVC")])
def test_demos_train_a_small_model_from_scratch_on_generated_data(config, dataset):
    cfg = load(CONFIGS / "demo" / f"{config}.yml")
    assert tuple(cfg.DATASETS.NAMES) == tuple(cfg.DATASETS.TESTS) == (dataset,)
    assert not cfg.MODEL.BACKBONE.PRETRAIN
    # Every block is pair-wise, as in the paper.
    assert cfg.MODEL.BACKBONE.TIMM_KWARGS.depth == cfg.MODEL.DCAL.PWCA.NUM_BLOCKS
    assert cfg.DATALOADER.NUM_WORKERS <= 2


@pytest.mark.parametrize("path", SWIN_FILES, ids=name)
def test_swin_has_pair_wise_attention_alone(path):
    cfg = load(path)
    assert path.read_text().splitlines()[0].endswith(f"An extended account of the paper: mAP {SWIN_FILES[path]}.")
    assert cfg.MODEL.BACKBONE.TIMM_MODEL == "swin_tiny_patch4_window7_224.ms_in1k"
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 10
    with torch.device("meta"):
        model = build_model(cfg)
    assert (model.glca, model.pwca_blocks) == (None, 12 if "dcal" in path.name else 0)
    assert model.backbone.embed_dim == 768
