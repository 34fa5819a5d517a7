"""The meta-architectures and their parts: DCAL's, and fast-reid's own for comparison. Importing registers them."""

from .backbones import Backbone, build_timm_backbone
from .dcal import DCAL, AttentionMaps, check_attention
from .fastreid_vit import FastReIDBaseline, build_fastreid_vit
from .heads import DCALClassificationHead, DCALHead
from .pair_samplers import PAIR_SAMPLER_REGISTRY

__all__ = [
    "DCAL",
    "PAIR_SAMPLER_REGISTRY",
    "AttentionMaps",
    "Backbone",
    "DCALClassificationHead",
    "DCALHead",
    "FastReIDBaseline",
    "build_fastreid_vit",
    "build_timm_backbone",
    "check_attention",
]
