"""Swin (Liu et al., 2021): attention within windows, and no CLS token."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer, WindowAttention
from torch import Tensor, nn

from ..pwca import attend_both
from .base import Backbone, State, attention_replaced, both_streams, check_has_blocks

__all__ = ["SwinBackbone"]


class SwinBackbone(Backbone):
    """Tokens are (B, H, W, D), fewer and wider from stage to stage.

    A window of the pair-wise stream also attends to the distractor's window at the same place, with the same relative
    position bias. Without a CLS token there is no rollout and no GLCA; the feature is the mean of all tokens.
    """

    def __init__(self, vit: SwinTransformer) -> None:
        super().__init__(vit)
        self.embed_dim = vit.num_features
        # The index of each stage's first block.
        self._stage_starts = [sum(len(stage.blocks) for stage in vit.layers[:i]) for i in range(len(vit.layers))]

    @staticmethod
    def check(name: str, vit: SwinTransformer, size: tuple[int, int]) -> None:
        check_has_blocks(name, "depths", *(stage.blocks for stage in vit.layers))

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return [block for stage in self.vit.layers for block in stage.blocks]

    def embed(self, images: Tensor) -> Tensor:
        return self.vit.patch_embed(images)

    def self_block(self, number: int, x: Tensor, cls_only: bool = False) -> tuple[Tensor, State]:
        return self.blocks[number](self._downsampled(number, x)), None

    def pair_block(
        self, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool, cls_only: bool = False
    ) -> tuple[Tensor, State]:
        block, x = self.blocks[number], self._downsampled(number, both_streams(x, partner, starts))
        function = partial(
            _window_pairs, block.attn, images=len(x), partner=partner, distractor_stream=distractor_stream
        )
        with attention_replaced(block.attn, function):
            return block(x), None

    def _downsampled(self, number: int, x: Tensor) -> Tensor:
        """The tokens as the block expects them: a stage (after the first) begins by halving the resolution."""
        if number not in self._stage_starts:
            return x
        return self.vit.layers[self._stage_starts.index(number)].downsample(x)

    def read_out(self, x: Tensor) -> Tensor:
        return self.norm(x).mean(dim=(1, 2))


def _window_pairs(
    attn: WindowAttention,
    x: Tensor,
    mask: Tensor | None = None,
    *,
    images: int,
    partner: Tensor,
    distractor_stream: str,
) -> Tensor:
    """``WindowAttention`` of both streams; each image has w windows of N tokens.

    Args:
        attn: timm's layer.
        x: ((S + B) w, N, D), windows, image by image.
        images: S + B.
        mask: (w, N, N) or None: 0 where tokens of a shifted window may attend to each other, else negative.
        partner: (B,), the position of each image's distractor within the distractor's stream.
        distractor_stream: sa | pwca | noise.
    """
    q, k, v = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (_, h, N, d)
    windows = len(x) // images
    # For each window of the pair-wise stream, the position of the distractor's window within the distractor's stream.
    places = (partner[:, None] * windows + torch.arange(windows, device=x.device)).flatten()

    bias = attn._get_rel_pos_bias()  # (1, h, N, N)
    if mask is not None:
        bias = bias + mask[:, None]  # (w, h, N, N)
    attended = attend_both(attn, q, k, v, places, distractor_stream, attend=partial(_attend, bias=bias))
    return attn.proj_drop(attn.proj(attended))


def _attend(attn: WindowAttention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention of windows, image by image, with N queries and N or 2N keys: -> (_, N, h d).

    The bias (1 or w, h, N, N) is shared by all windows, or one per window of an image; a distractor's keys get the same
    bias.
    """
    bias = bias.repeat(1, 1, 1, k.shape[2] // q.shape[2])
    bias = bias.repeat(len(q) // len(bias), 1, 1, 1) if len(bias) > 1 else bias
    if attn.fused_attn:
        dropout = attn.attn_drop.p if attn.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), dropout_p=dropout)
    else:
        x = attn.attn_drop((q * attn.scale @ k.transpose(2, 3) + bias).softmax(dim=3)) @ v
    return x.transpose(1, 2).flatten(2)
