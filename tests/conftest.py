import os
from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

import dcal_reid

os.environ.setdefault("OMP_NUM_THREADS", "2")
REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def tiny_cfg():
    """A DCAL configuration of a three-block ViT on 64x32 images with 4x2 patches, and nothing random in its layers."""
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "DCAL"
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_tiny_patch16_224"
    cfg.MODEL.BACKBONE.TIMM_KWARGS = dcal_reid.config.CfgNode(
        {"depth": 3, "embed_dim": 48, "num_heads": 3}, new_allowed=True
    )
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    cfg.MODEL.HEADS.NAME = "DCALHead"
    cfg.MODEL.HEADS.POOL_LAYER = "Identity"
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.MODEL.LOSSES.TRI.HARD_MINING = True
    cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 3
    cfg.INPUT.SIZE_TRAIN = [64, 32]
    cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    return cfg


@pytest.fixture
def tiny_model(tiny_cfg):
    torch.manual_seed(0)
    return build_model(tiny_cfg)


@pytest.fixture
def tiny_batch():
    """Eight images of four identities."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 3, 64, 32), dtype=torch.uint8, generator=generator)
    return {"images": images, "targets": torch.arange(4).repeat_interleave(2)}


@pytest.fixture
def vit_tiny_weights():
    """Real ViT-Tiny weights, ImageNet-1k, 224 pixels."""
    path = SHARED_DATA / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"
    if not path.is_file():
        pytest.skip(f"real weights are not at {path}")
    return path
