"""The task of a configuration, re-identification or classification. The head decides."""

from fastreid.config import CfgNode
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead

__all__ = ["is_classification"]


def is_classification(cfg: CfgNode) -> bool:
    """Whether MODEL.HEADS.NAME is a classification head: fast-reid's ``ClasHead`` or a subclass."""
    return issubclass(REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME), ClasHead)
