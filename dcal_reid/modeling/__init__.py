"""The DCAL meta-architecture and its parts. Importing registers them with fast-reid."""

from .backbones import Backbone, build_timm_backbone
from .dcal import DCAL, AttentionMaps
from .heads import DCALClassificationHead, DCALHead
from .pair_samplers import PAIR_SAMPLER_REGISTRY

__all__ = [
    "DCAL",
    "PAIR_SAMPLER_REGISTRY",
    "AttentionMaps",
    "Backbone",
    "DCALClassificationHead",
    "DCALHead",
    "build_timm_backbone",
]
