"""Build the parts of a DCAL model from a configuration."""

from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import build_heads

from ..errors import InputError
from .backbones import Backbone, pixel_statistics
from .glca import GLCA
from .heads import check_group_norm
from .losses import BranchLoss, LossWeights
from .pair_samplers import PAIR_SAMPLER_REGISTRY

__all__ = ["dcal_parts"]


def dcal_parts(cfg: CfgNode) -> dict:
    """The arguments of :class:`~dcal_reid.modeling.dcal.DCAL`.

    Raises:
        InputError: a backbone or a head that the branches cannot share, or that does not fit the other keys.
    """
    dcal = cfg.MODEL.DCAL
    backbone = build_backbone(cfg)
    if not isinstance(backbone, Backbone):
        raise InputError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} builds a {type(backbone).__name__}, whose blocks the "
            "branches cannot share; derive it from dcal_reid.modeling.backbones.Backbone"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.FEAT_DIM = backbone.embed_dim

    _check_blocks(cfg, backbone)
    check_group_norm(cfg)
    num_glca = dcal.GLCA.NUM_BLOCKS
    glca = None
    if num_glca:
        blocks = backbone.blocks[-num_glca:]
        glca = GLCA(
            blocks,
            backbone.norm,
            ratio=dcal.GLCA.RATIO,
            readout=dcal.GLCA.READOUT,
            keys=dcal.GLCA.KEYS,
            init=dcal.GLCA.INIT,
            num_prefix=backbone.num_prefix,
            cross_block=backbone.cross_block,
            cross_attention=backbone.cross_attention,
        )
    branches = ["sa"] + ["glca"] * bool(num_glca) + ["pwca"] * bool(dcal.PWCA.NUM_BLOCKS)
    initial = dict(zip(("sa", "glca", "pwca"), dcal.LOSS_WEIGHTS_INIT, strict=True))
    heads = {branch: build_heads(cfg) for branch in branches if branch != "pwca"}
    if not hasattr(heads["sa"], "combine"):
        raise InputError(
            f"MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME!r} has no `combine`, which merges the branches' outputs; "
            "derive it from DCALHead or DCALClassificationHead"
        )
    mean, std = pixel_statistics(cfg)
    return {
        "backbone": backbone,
        "heads": heads,
        "glca": glca,
        "glca_input": dcal.GLCA.INPUT,
        "glca_selection": dcal.GLCA.SELECTION,
        "pwca_blocks": dcal.PWCA.NUM_BLOCKS,
        "distractor_stream": dcal.PWCA.DISTRACTOR_STREAM,
        "neck_statistics": dcal.PWCA.NECK_STATISTICS,
        "distractors": dcal.PWCA.DISTRACTORS,
        "pair_sampler": PAIR_SAMPLER_REGISTRY.get(dcal.PWCA.PAIR_SAMPLER),
        "branch_loss": BranchLoss(cfg),
        "loss_weights": LossWeights(dcal.LOSS_WEIGHTS, {branch: initial[branch] for branch in branches})
        if len(branches) > 1
        else None,
        "inference": dcal.INFERENCE if num_glca else "sa",
        "pixel_mean": mean,
        "pixel_std": std,
        "image_noise": cfg.MODEL.NOISE.IMAGE,
        "label_noise": cfg.MODEL.NOISE.LABEL,
        "activation_checkpointing": cfg.MODEL.ACTIVATION_CHECKPOINTING,
    }


def _check_blocks(cfg: CfgNode, backbone: Backbone) -> None:
    """
    Raises:
        InputError: more GLCA or PWCA blocks than the backbone has room for, or a GLCA selection by the attention of a
            block that has no CLS token.
    """
    name = cfg.MODEL.BACKBONE.TIMM_MODEL
    for branch, most, why in (
        ("GLCA", backbone.num_cls_blocks, "a CLS token attends in"),
        ("PWCA", len(backbone.blocks), "images can attend to each other in"),
    ):
        given = cfg.MODEL.DCAL[branch].NUM_BLOCKS
        if given > most:
            raise InputError(
                f"MODEL.DCAL.{branch}.NUM_BLOCKS is {given}, but {why} {most} blocks of {name!r}; set {most} or less"
            )
    glca = cfg.MODEL.DCAL.GLCA
    beside = glca.NUM_BLOCKS if glca.INPUT == "parallel" else 1
    if glca.SELECTION == "penultimate" and glca.NUM_BLOCKS > 0 and beside == backbone.num_cls_blocks:
        raise InputError(
            f"MODEL.DCAL.GLCA.SELECTION is 'penultimate', but a CLS token attends only in the last {beside} blocks of "
            f"{name!r}, none of which is before GLCA's; set MODEL.DCAL.GLCA.SELECTION last"
        )
