"""CaiT (Touvron et al., 2021): talking heads among the patches, then class-attention blocks for the CLS token."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.cait import Cait, ClassAttn, LayerScaleBlockClassAttn, TalkingHeadAttn
from torch import Tensor, nn

from ..attention import attend
from ..pwca import attend_both
from ..rollout import attention_weights
from .base import Backbone, State, attention_replaced, both_streams, check_has_blocks, check_patches_divide

__all__ = ["CaiTBackbone"]


class CaiTBackbone(Backbone):
    """Tokens are (B, N, D), the patches alone, and (B, 1 + N, D) in the class-attention blocks.

    Class-attention blocks change only the CLS token: the patches' rows of their attention are those of the identity
    matrix, so rollout runs over these blocks alone.
    """

    def __init__(self, vit: Cait) -> None:
        super().__init__(vit)
        self.embed_dim = vit.embed_dim
        self.num_cls_blocks = len(vit.blocks_token_only)
        self.grid_size = tuple(vit.patch_embed.grid_size)

    @staticmethod
    def check(name: str, vit: Cait, size: tuple[int, int]) -> None:
        check_patches_divide(name, vit, size)
        check_has_blocks(name, "depth", vit.blocks)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return [*self.vit.blocks, *self.vit.blocks_token_only]

    def embed(self, images: Tensor) -> Tensor:
        vit = self.vit
        return vit.pos_drop(vit.patch_embed(images) + vit.pos_embed)

    def self_block(self, number: int, x: Tensor, cls_only: bool = False) -> tuple[Tensor, State]:
        block = self.blocks[number]
        if not isinstance(block, LayerScaleBlockClassAttn):
            return self._run(number, x), None
        cls, q, k = _class_block(block, x[:, :1], x)
        return torch.cat([cls, x[:, 1:]], dim=1), (q, k)

    def pair_block(
        self, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool, cls_only: bool = False
    ) -> tuple[Tensor, State]:
        block, x = self.blocks[number], both_streams(x, partner, starts)
        states: list[State] = []
        function = partial(_talking_pairs, block.attn, partner=partner, distractor_stream=distractor_stream)
        if isinstance(block, LayerScaleBlockClassAttn):
            function = partial(
                _class_pairs, block.attn, partner=partner, distractor_stream=distractor_stream, states=states
            )
        with attention_replaced(block.attn, function):
            return self._run(number, x), states[0] if states else None

    def _run(self, number: int, x: Tensor) -> Tensor:
        block = self.blocks[number]
        if isinstance(block, LayerScaleBlockClassAttn):
            return torch.cat([block(x[:, 1:], x[:, :1]), x[:, 1:]], dim=1)
        x = block(x)
        if number == len(self.vit.blocks) - 1:
            x = torch.cat([self.vit.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return x

    @staticmethod
    def cross_block(block: LayerScaleBlockClassAttn, queries: Tensor, context: Tensor) -> Tensor:
        return _class_block(block, queries, context)[0]

    @staticmethod
    def cross_attention(block: LayerScaleBlockClassAttn, queries: Tensor, context: Tensor) -> Tensor:
        q, k = _queries_and_keys(block.attn, block.norm1(queries), block.norm1(context))
        return attention_weights(q, k, block.attn.scale).mean(dim=1)

    @torch.no_grad()
    def cls_rollout(self, states: Sequence[State]) -> Tensor:
        q, k = next(state for state in states if state is not None)
        r = torch.zeros(q.shape[0], k.shape[2], device=k.device)
        r[:, 0] = 1
        return self.roll_back(r, states)

    @torch.no_grad()
    def roll_back(self, r: Tensor, states: Sequence[State]) -> Tensor:
        scale = self.blocks[-1].attn.scale
        for q, k in (state for state in reversed(states) if state is not None):
            with torch.autocast(r.device.type, enabled=False):
                row = 0.5 * attention_weights(q, k, scale).mean(dim=1)[:, 0]  # (B, 1 + N), the CLS token's
            row[:, 0] += 0.5
            cls, r = r[:, :1], r.clone()
            r[:, 0] = 0
            r += cls * row
        return r


def _heads(attn: nn.Module, linear: nn.Linear, x: Tensor) -> Tensor:
    """(B, N, D) -> (B, h, N, d)."""
    return linear(x).unflatten(2, (attn.num_heads, -1)).transpose(1, 2)


def _queries_and_keys(attn: ClassAttn, queries: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    return _heads(attn, attn.q, queries), _heads(attn, attn.k, context)


def _class_block(block: LayerScaleBlockClassAttn, queries: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A class-attention block with queries (B, n, D), keys and values from (B, N, D): -> (B, n, D), its q and k."""
    attn, normed = block.attn, block.norm1(context)
    q, k = _queries_and_keys(attn, block.norm1(queries), normed)
    attended = attn.proj_drop(attn.proj(attend(attn, q, k, _heads(attn, attn.v, normed))))
    x = queries + block.drop_path(block.gamma_1 * attended)
    return x + block.drop_path(block.gamma_2 * block.mlp(block.norm2(x))), q, k


def _class_pairs(attn: ClassAttn, x: Tensor, *, partner: Tensor, distractor_stream: str, states: list[State]) -> Tensor:
    """``ClassAttn`` of both streams, (S + B, 1 + N, D) -> (S + B, 1, D), with a softmax over both images' keys.

    The self-attention stream's queries and keys are appended to ``states``.
    """
    q, k = _queries_and_keys(attn, x[:, :1], x)
    v = _heads(attn, attn.v, x)
    images = len(x) - len(partner)
    states.append((q[:images], k[:images]))
    return attn.proj_drop(attn.proj(attend_both(attn, q, k, v, partner, distractor_stream)))


def _talking_pairs(attn: TalkingHeadAttn, x: Tensor, *, partner: Tensor, distractor_stream: str) -> Tensor:
    """``TalkingHeadAttn`` of both streams, (S + B, N, D) -> the same shape, with a softmax over both images' keys."""
    q, k, v = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return attn.proj_drop(attn.proj(attend_both(attn, q, k, v, partner, distractor_stream, attend=_talk)))


def _talk(attn: TalkingHeadAttn, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention with the heads mixed before and after the softmax: N queries, N or 2N keys -> (B, N, h d).

    The bias of the mixing after the softmax adds a constant to the weight of every key. With twice the keys, each gets
    half of it, so that the total stays the same.
    """
    logits = attn.proj_l((q * attn.scale @ k.transpose(2, 3)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    bias = attn.proj_w.bias * (q.shape[2] / k.shape[2])
    weights = F.linear(logits.softmax(dim=3).permute(0, 2, 3, 1), attn.proj_w.weight, bias).permute(0, 3, 1, 2)
    return (attn.attn_drop(weights) @ v).transpose(1, 2).flatten(2)
