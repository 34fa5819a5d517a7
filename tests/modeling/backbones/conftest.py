import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.config import CfgNode


@pytest.fixture
def small(tiny_cfg):
    """A function (timm model, its arguments, (height, width), keys under MODEL.DCAL) that builds a small DCAL."""

    def build(timm_model, kwargs, size, **options):
        tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = timm_model
        tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS = CfgNode(kwargs, new_allowed=True)
        tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = list(size)
        for key, value in options.items():
            tiny_cfg.merge_from_list([f"MODEL.DCAL.{key.replace('__', '.')}", value])
        torch.manual_seed(0)
        return build_model(tiny_cfg)

    return build


@pytest.fixture
def images_of():
    """A function (height, width) that gives a batch of eight images of four identities."""

    def make(height, width):
        generator = torch.Generator().manual_seed(1)
        images = torch.randint(0, 256, (8, 3, height, width), dtype=torch.uint8, generator=generator)
        return {"images": images, "targets": torch.arange(4).repeat_interleave(2)}

    return make
