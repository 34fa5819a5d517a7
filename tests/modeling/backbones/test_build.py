import re

import pytest
import timm
import torch
from fastreid.engine import DefaultPredictor
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.meta_arch import build_model

from dcal_reid import load_model
from dcal_reid.config import CfgNode
from dcal_reid.errors import InputError
from dcal_reid.modeling.backbones import ViTBackbone, build_timm_backbone, input_size, pixel_statistics


def test_is_registered(tiny_cfg):
    assert BACKBONE_REGISTRY.get("build_timm_backbone") is build_timm_backbone
    backbone = build_backbone(tiny_cfg)
    assert isinstance(backbone, ViTBackbone)
    assert (backbone.embed_dim, backbone.grid_size, len(backbone.blocks)) == (48, (4, 2), 3)


def test_serves_fastreids_own_baseline(tiny_cfg):
    tiny_cfg.MODEL.META_ARCHITECTURE = "Baseline"
    tiny_cfg.MODEL.HEADS.NAME = "EmbeddingHead"
    tiny_cfg.MODEL.BACKBONE.FEAT_DIM = 48
    model = build_model(tiny_cfg).eval()
    assert model(torch.rand(2, 3, 64, 32) * 255).shape == (2, 48)


def test_rates_of_dropout_and_stochastic_depth_reach_timm(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.3
    tiny_cfg.MODEL.BACKBONE.DROP_RATIO = 0.2
    tiny_cfg.MODEL.BACKBONE.ATT_DROP_RATE = 0.1
    last = build_backbone(tiny_cfg).blocks[-1]
    assert (last.attn.proj_drop.p, last.attn.attn_drop.p) == (0.2, 0.1)
    assert last.drop_path1.drop_prob == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_pach16_224", "not a timm model; similar names"),
        ("resnet18", "ResNet"),
        ("deit_tiny_distilled_patch16_224", "VisionTransformerDistilled"),
        ("vit_small_patch16_dinov3", "Eva"),
        ("beit_base_patch16_224", "Beit"),
        ("vit_base_patch16_siglip_224", "no CLS token"),
    ],
)
def test_refuses_models_by_name(tiny_cfg, name, reason):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = name
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    if "patch" in name:
        tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.depth = 1
        tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [112, 112]
    with pytest.raises(InputError, match=reason):
        build_backbone(tiny_cfg)


def test_refuses_a_size_that_the_patches_do_not_divide(tiny_cfg):
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [60, 32]
    with pytest.raises(InputError, match="60x32"):
        build_backbone(tiny_cfg)


def test_refuses_two_sizes(tiny_cfg):
    tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    with pytest.raises(InputError, match="differ"):
        input_size(tiny_cfg)


def test_the_size_is_the_crops_where_there_is_one(tiny_cfg):
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    tiny_cfg.INPUT.CROP.ENABLED = True
    tiny_cfg.INPUT.CROP.SIZE = [48]
    assert input_size(tiny_cfg) == (48, 48)


def test_refuses_arguments_that_timm_does_not_have(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.dept = 3
    with pytest.raises(InputError, match="dept"):
        build_backbone(tiny_cfg)


@pytest.mark.parametrize("pretrain", [False, True])
def test_what_timm_refuses_is_not_the_hubs_fault(tiny_cfg, pretrain):
    tiny_cfg.MODEL.BACKBONE.DROP_RATIO, tiny_cfg.MODEL.BACKBONE.PRETRAIN = 1.5, pretrain
    with pytest.raises(InputError, match=r"timm cannot build .*1\.5"):
        build_backbone(tiny_cfg)


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"num_heads": 0}, "ZeroDivisionError"),
        ({"act_layer": "gelo"}, "KeyError: 'gelo'"),
        ({"checkpoint_path": "gone.pth"}, "FileNotFoundError"),
        ({"weight_init": "ones"}, "AssertionError"),
        ({"init_values": "small"}, "TypeError: fill_"),  # timm's own message has several lines
    ],
)
def test_whatever_timm_ends_in_is_one_line(tiny_cfg, kwargs, reason):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.update(kwargs)
    with pytest.raises(InputError) as error:
        build_backbone(tiny_cfg)
    assert str(error.value).startswith("timm cannot build MODEL.BACKBONE.TIMM_MODEL")
    assert f"({reason}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"in_chans": 1}, "in_chans is 1; images have three channels"),
        ({"depth": 0}, "has no blocks; set TIMM_KWARGS.depth to 1 or more"),
        ({"global_pool": "map"}, "pools with attention of its own"),
    ],
)
def test_refuses_arguments_that_dcal_has_no_use_for(tiny_cfg, kwargs, reason):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.update(kwargs)
    with pytest.raises(InputError, match=reason):
        build_backbone(tiny_cfg)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("cait_xxs24_224", {"depth": 0, "embed_dim": 24, "num_heads": 2}, "; set TIMM_KWARGS.depth to 1 or more"),
        (
            "swin_tiny_patch4_window7_224",
            {"depths": (1, 0), "embed_dim": 8, "num_heads": (1, 1)},
            " in a stage; set TIMM_KWARGS.depths to 1 or more",
        ),
    ],
)
def test_refuses_stages_without_blocks(tiny_cfg, name, kwargs, words):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = name
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS = CfgNode(kwargs, new_allowed=True)
    with pytest.raises(InputError, match=re.escape(f"'{name}' has no blocks{words}")):
        build_backbone(tiny_cfg)


def test_what_is_refused_is_not_downloaded(tiny_cfg, monkeypatch):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL, tiny_cfg.MODEL.BACKBONE.PRETRAIN = "vit_base_patch16_siglip_224.webli", True
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [224, 224]
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **kwargs: pytest.fail("downloaded"))
    with pytest.raises(InputError, match="no CLS token"):
        build_backbone(tiny_cfg)


@pytest.mark.parametrize("size", [[256], [256, 128, 3], [0, 128], [256, 128], ["256", "128"]])
def test_refuses_a_size_of_no_weights(tiny_cfg, size):
    tiny_cfg.MODEL.BACKBONE.PRETRAIN, tiny_cfg.MODEL.BACKBONE.PRETRAIN_SIZE = True, size
    with pytest.raises(InputError, match=r"PRETRAIN_SIZE is .* goes with that key"):
        build_backbone(tiny_cfg)


def test_weights_of_an_unknown_kind_are_refused(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_tiny_patch16_224.foo"
    with pytest.raises(InputError, match=r"timm cannot build .*\(foo\)"):
        build_backbone(tiny_cfg)


def test_fastreids_predictor_loads_a_run_that_started_from_a_file(run_folder, run_cfg, tiny_batch):
    """Like --eval-only in its tools, it sets PRETRAIN False and leaves the other keys as they are."""
    backbone = run_cfg.MODEL.BACKBONE
    backbone.PRETRAIN, backbone.PRETRAIN_PATH, backbone.PRETRAIN_SIZE = True, "gone.pth", [64, 32]
    run_cfg.MODEL.HEADS.NUM_CLASSES, run_cfg.MODEL.WEIGHTS = 6, str(run_folder / "model_final.pth")
    features = DefaultPredictor(run_cfg)(tiny_batch["images"])
    assert torch.equal(features, load_model(run_cfg.MODEL.WEIGHTS, device="cpu")(tiny_batch))


def test_says_what_to_do_without_the_hub(tiny_cfg, monkeypatch):
    create = timm.create_model

    def offline(*args, pretrained, **kwargs):
        if pretrained:
            raise ConnectionError("no route to host")
        return create(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    tiny_cfg.MODEL.BACKBONE.PRETRAIN = True
    with pytest.raises(InputError, match="PRETRAIN_PATH"):
        build_backbone(tiny_cfg)


def test_pixel_statistics_follow_the_weights(tiny_cfg):
    half, imagenet = ([0.5] * 3, [0.5] * 3), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for name, known in (("vit_base_patch16_224.orig_in21k", half), ("deit_tiny_patch16_224.fb_in1k", imagenet)):
        tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = name
        for found, values in zip(pixel_statistics(tiny_cfg), known, strict=True):
            assert found == pytest.approx([255 * value for value in values])
    tiny_cfg.MODEL.PIXEL_STATS = "config"
    tiny_cfg.MODEL.PIXEL_MEAN = [1.0, 2.0, 3.0]
    assert pixel_statistics(tiny_cfg)[0] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", ["build_resnet_backbone", "build_vit_backbone", "build_my_own"])
def test_pixel_statistics_of_another_backbone_are_the_configs(tiny_cfg, name):
    tiny_cfg.MODEL.BACKBONE.NAME, tiny_cfg.MODEL.PIXEL_MEAN = name, [1.0, 2.0, 3.0]
    assert pixel_statistics(tiny_cfg) == ([1.0, 2.0, 3.0], list(tiny_cfg.MODEL.PIXEL_STD))
    tiny_cfg.MODEL.BACKBONE.NAME, tiny_cfg.MODEL.PIXEL_MEAN = "build_fastreid_vit", [127.5] * 3
    assert pixel_statistics(tiny_cfg)[1] == [127.5] * 3


def test_refuses_pixel_statistics_that_would_count_for_nothing(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_base_patch16_224.orig_in21k"
    tiny_cfg.MODEL.PIXEL_MEAN = tiny_cfg.MODEL.PIXEL_STD = [127.5, 127.5, 127.5]  # those of the weights
    assert pixel_statistics(tiny_cfg) == ([127.5] * 3, [127.5] * 3)
    tiny_cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    with pytest.raises(InputError, match=r"PIXEL_STD is \[1.0, 1.0, 1.0\].*127.5.*PIXEL_STATS config"):
        pixel_statistics(tiny_cfg)


def test_refuses_sizes_that_crop_and_padding_make_differ(tiny_cfg):
    inputs = tiny_cfg.INPUT
    inputs.SIZE_TRAIN = inputs.SIZE_TEST = [64, 32]
    inputs.CROP.ENABLED = inputs.PADDING.ENABLED = True
    inputs.CROP.SIZE = [64, 32]
    assert input_size(tiny_cfg) == (64, 32)
    inputs.CROP.SIZE = [48, 32]
    inputs.PADDING.SIZE = 8
    with pytest.raises(InputError, match=r"training images \(64, 32\) and test images \(48, 32\) differ"):
        input_size(tiny_cfg)
