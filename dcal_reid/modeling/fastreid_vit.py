"""fast-reid's own baseline on fast-reid's own vision transformer, for comparison with ours."""

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from torch import Tensor, nn

from ..errors import InputError
from .backbones import ViTBackbone, build_timm_backbone, input_size, pixel_statistics
from .heads import check_group_norm

__all__ = ["FastReIDBaseline", "build_fastreid_vit"]

# Arguments of timm's ViT that have a counterpart in fast-reid's network.
_KWARGS = ("depth", "embed_dim", "mlp_ratio", "num_heads", "patch_size", "qkv_bias")


@META_ARCH_REGISTRY.register()
class FastReIDBaseline(Baseline):
    """fast-reid's ``Baseline`` with its heads and losses, on uint8 batches from any device, which it does not change.

    The mean and standard deviation of the pixels follow MODEL.PIXEL_STATS, as for ``DCAL``.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """
        Raises:
            InputError: MODEL.BACKBONE.FEAT_DIM, from which the head is built, is not the backbone's width, or
                MODEL.HEADS.NORM cannot divide it.
        """
        check_group_norm(cfg)
        parts = super().from_config(cfg)
        parts["pixel_mean"], parts["pixel_std"] = pixel_statistics(cfg)
        given = cfg.MODEL.BACKBONE.FEAT_DIM
        found = getattr(parts["backbone"], "embed_dim", given)
        if given != found:
            raise InputError(f"MODEL.BACKBONE.FEAT_DIM is {given}, but the backbone's features have {found}; set that")
        return parts

    def forward(self, batched_inputs: dict | Tensor):
        """
        Args:
            batched_inputs: as for ``DCAL``.

        Returns:
            In training ``{"loss_cls": ..., "loss_triplet": ...}``; else the features (B, D).
        """
        if self.training:
            targets = batched_inputs["targets"].to(self.device)
            batched_inputs = {"images": batched_inputs["images"], "targets": targets}
        return super().forward(batched_inputs)

    def preprocess_image(self, batched_inputs: dict | Tensor) -> Tensor:
        """Images on the model's device, normalised. fast-reid normalises in place, so it gets a copy."""
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        images = images.to(self.device, non_blocking=True)
        return super().preprocess_image(images.to(self.pixel_mean.dtype, copy=True))


@BACKBONE_REGISTRY.register()
def build_fastreid_vit(cfg: CfgNode) -> VisionTransformer:
    """fast-reid's vision transformer with the width, the depth and the weights of MODEL.BACKBONE.TIMM_MODEL.

    fast-reid's own ``build_vit_backbone`` is always 768 wide. timm reads the weights and resizes their position
    embeddings, so the network initially computes the same function as that of ``build_timm_backbone``. Without
    pretrained weights, the initialisation is fast-reid's.

    Raises:
        InputError: what ``build_timm_backbone`` refuses, or a network that fast-reid's class cannot represent.
    """
    options = cfg.MODEL.BACKBONE
    unknown = sorted(set(options.TIMM_KWARGS) - set(_KWARGS))
    if unknown:
        raise InputError(
            f"MODEL.BACKBONE.TIMM_KWARGS has {unknown[0]}, which fast-reid's vision transformer does not know; give "
            f"only {', '.join(_KWARGS)}"
        )
    backbone = build_timm_backbone(cfg)
    if not isinstance(backbone, ViTBackbone):
        raise _not_plain(options.TIMM_MODEL, f"a {type(backbone.vit).__name__}")
    model = _counterpart(backbone.vit, cfg)
    differing = sorted(_shapes(model) ^ _shapes(backbone.vit))
    if differing:
        raise _not_plain(options.TIMM_MODEL, f"different from it in {differing[0][0]}")
    if options.PRETRAIN:
        model.load_state_dict(backbone.vit.state_dict())
    return model


def _counterpart(vit: nn.Module, cfg: CfgNode) -> VisionTransformer:
    """fast-reid's network with the sizes of timm's."""
    block, options = vit.blocks[0], cfg.MODEL.BACKBONE
    return VisionTransformer(
        img_size=input_size(cfg),
        patch_size=vit.patch_embed.patch_size,
        stride_size=vit.patch_embed.patch_size,
        embed_dim=vit.embed_dim,
        depth=len(vit.blocks),
        num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc2.in_features / vit.embed_dim,
        qkv_bias=block.attn.qkv.bias is not None,
        drop_rate=options.DROP_RATIO,
        attn_drop_rate=options.ATT_DROP_RATE,
        drop_path_rate=options.DROP_PATH_RATIO,
    )


def _shapes(model: nn.Module) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(value.shape)) for name, value in model.state_dict().items()}


def _not_plain(name: str, what: str) -> InputError:
    return InputError(
        f"MODEL.BACKBONE.TIMM_MODEL {name!r} is {what}; fast-reid's vision transformer is a plain ViT or DeiT: choose "
        "one, or set MODEL.BACKBONE.NAME build_timm_backbone"
    )
