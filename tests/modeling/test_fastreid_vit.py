from pathlib import Path

import pytest
import timm
import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline, build_model
from fastreid.utils.events import EventStorage
from helpers.runs import run
from safetensors.torch import save_file
from torch import nn

from dcal_reid.ablation import cost
from dcal_reid.data import build_test_loader
from dcal_reid.engine import load_config
from dcal_reid.engine.check import check_config
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.engine.job import evaluate
from dcal_reid.engine.solver import build_optimizer
from dcal_reid.errors import InputError
from dcal_reid.modeling import FastReIDBaseline, build_fastreid_vit

CONFIGS = Path(__file__).parents[2] / "configs" / "csv"


pytestmark = pytest.mark.usefixtures("fastreid_cfg")


def losses_of(model, batch):
    with EventStorage():
        return model(batch)


def test_are_registered(tiny_cfg, tiny_model):
    check_config(tiny_cfg)
    assert META_ARCH_REGISTRY.get("FastReIDBaseline") is FastReIDBaseline
    assert BACKBONE_REGISTRY.get("build_fastreid_vit") is build_fastreid_vit
    assert type(tiny_model.backbone) is VisionTransformer


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_are_timms_for_the_same_weights_at_another_size(tiny_cfg, tmp_path, suffix):
    """Up to rounding: timm resizes the position embeddings for both, but fuses its attention."""
    kwargs = dict(tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS)
    torch.manual_seed(0)
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=5, **kwargs)
    weights = {name: value + 0.1 * torch.randn_like(value) for name, value in trained.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    expected = timm.create_model(
        *("vit_tiny_patch16_224", True), pretrained_cfg_overlay={"file": str(path), "custom_load": False},
        img_size=(64, 32), num_classes=0, **kwargs,
    ).eval()  # fmt: skip

    tiny_cfg.MODEL.BACKBONE.PRETRAIN, tiny_cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, str(path)
    backbone = build_backbone(tiny_cfg).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(images)[:, :, 0, 0], expected.forward_features(images)[:, 0], rtol=1e-5, atol=1e-5
        )


def test_rates_of_dropout_and_stochastic_depth_reach_fastreid(tiny_cfg):
    options = tiny_cfg.MODEL.BACKBONE
    options.DROP_PATH_RATIO, options.DROP_RATIO, options.ATT_DROP_RATE = 0.3, 0.2, 0.1
    last = build_backbone(tiny_cfg).blocks[-1]
    assert (last.attn.proj_drop.p, last.attn.attn_drop.p) == (0.2, 0.1)
    assert last.drop_path.drop_prob == pytest.approx(0.3)


def test_losses_are_those_of_fastreids_own_baseline(tiny_cfg, tiny_model, tiny_batch):
    ours = losses_of(tiny_model, tiny_batch)
    tiny_cfg.MODEL.META_ARCHITECTURE = "Baseline"
    tiny_cfg.MODEL.PIXEL_MEAN = tiny_cfg.MODEL.PIXEL_STD = [127.5] * 3
    torch.manual_seed(0)
    theirs = losses_of(build_model(tiny_cfg), tiny_batch | {"images": tiny_batch["images"].float()})
    assert ours.keys() == theirs.keys() == {"loss_cls", "loss_triplet"}
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_a_step_leaves_the_batch_and_changes_every_weight(tiny_cfg, tiny_model, tiny_batch):
    tiny_cfg.SOLVER.OPT, tiny_cfg.SOLVER.BASE_LR = "SGD", 0.1
    parameters = {name: p for name, p in tiny_model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    given = {name: value.clone() for name, value in tiny_batch.items()}
    optimizer = build_optimizer(tiny_cfg, tiny_model)
    losses = losses_of(tiny_model, tiny_batch)
    sum(losses.values()).backward()
    optimizer.step()
    assert all(torch.equal(tiny_batch[name], value) for name, value in given.items())
    assert all(p.isfinite().all() for p in parameters.values())
    assert [name for name, p in parameters.items() if torch.equal(p, before[name])] == []


def test_the_batch_may_be_uint8_or_float(tiny_model, tiny_batch):
    tiny_model.eval()
    images = tiny_batch["images"]
    floats = images.float()
    features = tiny_model(tiny_batch)
    assert features.shape == (8, 48)
    assert torch.equal(tiny_model(floats), features) and torch.equal(tiny_model(images), features)
    assert torch.equal(floats, images.float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_takes_batches_from_the_cpu_to_the_gpu(tiny_model, tiny_batch):
    expected = losses_of(tiny_model, tiny_batch)
    actual = losses_of(tiny_model.cuda(), tiny_batch)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name].cpu(), value, rtol=1e-3, atol=1e-3)


def test_flip_test_averages_the_features_of_both(run_cfg):
    run_cfg.MODEL.HEADS.NUM_CLASSES, run_cfg.TEST.FLIP.ENABLED = 1, True
    model = build_model(run_cfg).eval()
    _, evaluator = evaluate_dataset(run_cfg, model, "CSVReID")
    loader, _ = build_test_loader(run_cfg, "CSVReID")
    with torch.no_grad():
        expected = torch.cat([(model(b["images"]) + model(b["images"].flip(3))) / 2 for b in loader])
    torch.testing.assert_close(torch.as_tensor(evaluator.features().features), expected, rtol=1e-4, atol=1e-4)


def test_a_run_trains_and_its_checkpoint_is_evaluated(run_cfg):
    _, results = run(run_cfg)
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    assert evaluate(run_cfg) == pytest.approx(results)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.META_ARCHITECTURE", "Baseline", "FastReIDBaseline"),
        ("MODEL.HEADS.NAME", "DCALHead", "is 'DCALHead'; .* only be 'EmbeddingHead'"),
        ("MODEL.DCAL.GLCA.NUM_BLOCKS", 1, "is 1; .* only be 0"),
        ("MODEL.DCAL.PWCA.NUM_BLOCKS", 3, "is 3; .* only be 0"),
        ("MODEL.NOISE.LABEL", 0.1, "is 0.1; .* only be 0"),
        ("MODEL.ACTIVATION_CHECKPOINTING", True, "is True; .* only be False"),
    ],
)
def test_what_it_does_not_know_is_refused(tiny_cfg, key, value, words):
    tiny_cfg.merge_from_list([key, value])
    with pytest.raises(InputError, match=words) as error:
        check_config(tiny_cfg)
    assert "\n" not in str(error.value)


def test_a_users_own_baseline_takes_images_as_ours_does(tiny_cfg, monkeypatch):
    for base, refused in ((Baseline, True), (FastReIDBaseline, False)):
        monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Own", type("Own", (base,), {}))
        tiny_cfg.MODEL.META_ARCHITECTURE = "Own"
        if not refused:
            check_config(tiny_cfg)
            continue
        with pytest.raises(InputError, match=r"is 'Own', whose preprocess_image is .* derive it from FastReIDBaseline"):
            check_config(tiny_cfg)


@pytest.mark.parametrize(("base", "fits"), [(EmbeddingHead, True), (ClasHead, False), (nn.Module, False)])
def test_a_users_own_head_is_derived_from_fastreids(tiny_cfg, tiny_batch, monkeypatch, base, fits):
    monkeypatch.setitem(REID_HEADS_REGISTRY._obj_map, "Own", type("Own", (base,), {}))
    tiny_cfg.MODEL.HEADS.NAME = "Own"
    if not fits:
        with pytest.raises(InputError, match=r"is 'Own'; .* 'EmbeddingHead' or a head of your own"):
            check_config(tiny_cfg)
        return
    check_config(tiny_cfg)
    assert losses_of(build_model(tiny_cfg), tiny_batch).keys() == {"loss_cls", "loss_triplet"}


def test_weights_of_an_unknown_kind_are_refused(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_tiny_patch16_224.foo"
    with pytest.raises(InputError, match=r"timm cannot build .*\(foo\)"):
        build_model(tiny_cfg)


def test_groups_must_divide_the_features(tiny_cfg):
    tiny_cfg.MODEL.HEADS.NORM = "GN"
    with pytest.raises(InputError, match="32 groups do not divide features of 48"):
        build_model(tiny_cfg)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("FEAT_DIM", 768, "FEAT_DIM is 768, but the backbone's features have 48"),
        ("TIMM_MODEL", "vit_base_patch16_clip_224", "different from it in norm_pre.bias"),
        ("TIMM_KWARGS", CfgNode({"act_layer": "relu"}), "TIMM_KWARGS has act_layer"),
    ],
)
def test_networks_that_fastreids_class_cannot_be_are_refused(tiny_cfg, key, value, words):
    tiny_cfg.MODEL.BACKBONE[key] = value
    with pytest.raises(InputError, match=words):
        build_model(tiny_cfg)


def test_a_network_without_a_cls_token_is_refused(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "swin_tiny_patch4_window7_224"
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [56, 56]
    with pytest.raises(InputError, match="a SwinTransformer"):
        build_model(tiny_cfg)


def test_the_config_is_fastreids_recipe_on_the_data_of_ours():
    cfg, ours = (load_config(str(CONFIGS / f"{name}_vit_tiny.yml")) for name in ("fastreid", "dcal"))
    check_config(cfg)
    for part in ("DATASETS", "DATALOADER", "INPUT", "TEST"):
        assert cfg[part] == ours[part]
    # fast-reid's configs/Market1501/bagtricks_vit.yml and, for what it leaves open, fast-reid's defaults.
    solver, losses, heads = cfg.SOLVER, cfg.MODEL.LOSSES, cfg.MODEL.HEADS
    assert (solver.OPT, solver.BASE_LR, solver.BIAS_LR_FACTOR, solver.HEADS_LR_FACTOR) == ("SGD", 0.008, 1, 1)
    assert (solver.MOMENTUM, solver.NESTEROV) == (0.9, False)
    assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS) == (1e-4, 5e-4, 5e-4)
    assert (solver.SCHED, solver.ETA_MIN_LR, solver.MAX_EPOCH) == ("CosineAnnealingLR", 1.6e-5, 120)
    assert (solver.WARMUP_METHOD, solver.WARMUP_FACTOR) == ("linear", 0.01)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, solver.AMP.ENABLED) == (64, 4, False)
    clip = solver.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "norm", 5.0, 2.0)
    assert tuple(losses.NAME) == ("CrossEntropyLoss", "TripletLoss")
    assert (losses.CE.EPSILON, losses.CE.SCALE, losses.TRI.SCALE) == (0, 1, 1)
    assert (losses.TRI.MARGIN, losses.TRI.HARD_MINING, losses.TRI.NORM_FEAT) == (0, True, False)
    assert (heads.WITH_BNNECK, heads.NECK_FEAT, heads.NORM, heads.EMBEDDING_DIM) == (True, "before", "BN", 0)
    assert (heads.POOL_LAYER, heads.CLS_LAYER) == ("Identity", "Linear")
    backbone = cfg.MODEL.BACKBONE
    assert (backbone.DROP_PATH_RATIO, backbone.DROP_RATIO, backbone.ATT_DROP_RATE) == (0.1, 0, 0)


def test_the_config_builds_and_costs_what_a_vit_tiny_costs():
    cfg = load_config(str(CONFIGS / "fastreid_vit_tiny.yml"), ["MODEL.DEVICE", "cpu"])
    vit = timm.create_model("vit_tiny_patch16_224", img_size=128, num_classes=0)
    found = cost(cfg)
    # The BNNeck has a weight and no bias that is learned.
    assert found.training_parameters == found.inference_parameters == sum(p.numel() for p in vit.parameters()) + 192
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.HEADS.NUM_CLASSES = False, 3
    model = build_model(cfg)
    assert model.pixel_mean.flatten().tolist() == model.pixel_std.flatten().tolist() == [127.5] * 3
    assert (len(model.backbone.blocks), model.backbone.blocks[0].attn.num_heads) == (12, 3)
