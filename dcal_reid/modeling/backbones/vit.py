"""timm's ``VisionTransformer``: ViT, DeiT, hybrids, CLIP, DINOv2."""

from collections.abc import Sequence

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ...errors import InputError
from ..attention import (
    check_block,
    cross_attention_block,
    project_keys_values,
    project_queries,
    self_attention_block,
)
from ..pwca import pairwise_block
from ..rollout import attention_weights, cls_rollout, roll_back
from .base import Backbone, State, check_has_blocks, check_patches_divide

__all__ = ["ViTBackbone"]


class ViTBackbone(Backbone):
    """Tokens are (B, num_prefix + N, D), the CLS token first. A CLS token attends in every block."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__(vit)
        self.embed_dim = vit.embed_dim
        self.num_cls_blocks = len(vit.blocks)
        self.num_prefix = vit.num_prefix_tokens
        self.grid_size = tuple(vit.patch_embed.grid_size)

    @staticmethod
    def check(name: str, vit: VisionTransformer, size: tuple[int, int]) -> None:
        if not vit.has_class_token:
            raise InputError(
                f"MODEL.BACKBONE.TIMM_MODEL {name!r} has no CLS token, which DCAL reads out; choose another"
            )
        check_patches_divide(name, vit, size)
        check_has_blocks(name, "depth", vit.blocks)
        if vit.attn_pool is not None:
            raise InputError(
                f"MODEL.BACKBONE.TIMM_MODEL {name!r} pools with attention of its own, which DCAL leaves out; remove "
                "TIMM_KWARGS.global_pool, or choose another"
            )
        for block in vit.blocks:
            check_block(block)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.vit.blocks

    @property
    def norm(self) -> nn.Module:
        """The final norm. In a model with average pooling timm calls it fc_norm; here it normalises the CLS token."""
        return self.vit.fc_norm if isinstance(self.vit.norm, nn.Identity) else self.vit.norm

    def embed(self, images: Tensor) -> Tensor:
        vit = self.vit
        return vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))

    def self_block(self, number: int, x: Tensor, cls_only: bool = False) -> tuple[Tensor, State]:
        x, q, k = self_attention_block(self.blocks[number], x, cls_only)
        return x, (q, k)

    def pair_block(
        self, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool, cls_only: bool = False
    ) -> tuple[Tensor, State]:
        x, q, k = pairwise_block(self.blocks[number], x, partner, distractor_stream, starts, cls_only)
        return x, (q, k)

    cross_block = staticmethod(cross_attention_block)

    @staticmethod
    def cross_attention(block: nn.Module, queries: Tensor, context: Tensor) -> Tensor:
        attn = block.attn
        q = project_queries(attn, block.norm1(queries))
        k, _ = project_keys_values(attn, block.norm1(context))
        return attention_weights(q, k, attn.scale).mean(dim=1)

    def cls_rollout(self, states: Sequence[State]) -> Tensor:
        return cls_rollout(states, self.blocks[0].attn.scale)

    def roll_back(self, r: Tensor, states: Sequence[State]) -> Tensor:
        return roll_back(r, states, self.blocks[0].attn.scale)
