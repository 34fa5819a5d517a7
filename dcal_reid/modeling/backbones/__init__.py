"""timm's networks as DCAL's backbones: one small adapter for each kind of attention."""

from .base import Backbone
from .build import build_timm_backbone, input_size, pixel_statistics
from .cait import CaiTBackbone
from .crossvit import CrossViTBackbone
from .swin import SwinBackbone
from .vit import ViTBackbone

__all__ = [
    "Backbone",
    "CaiTBackbone",
    "CrossViTBackbone",
    "SwinBackbone",
    "ViTBackbone",
    "build_timm_backbone",
    "input_size",
    "pixel_statistics",
]
