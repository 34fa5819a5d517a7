"""Pair-wise cross-attention (DCAL eq. 4): a regulariser that is there in training only and has no weights.

The pair-wise stream Z runs through the same blocks as the self-attention stream X. In each block its queries attend
to its own tokens and to those of a distractor, another image of the batch, under one softmax over 2N + 2 keys.
"""

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor

from .attention import attend, finish_block, project, project_keys_values, project_queries
from .pair_attention import has_pair_attention, pair_attention

__all__ = ["pairwise_block"]


def pairwise_block(
    block: Block,
    tokens: Tensor,
    partner: Tensor,
    distractor_stream: str = "sa",
    cls_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One transformer block of the self-attention stream and of the pair-wise stream.

    Both streams go through the linear layers together, as 2B images.

    Args:
        block: timm's block, shared by both streams.
        tokens: (2B, N, D), the self-attention stream and then the pair-wise stream, the CLS token first. (B, N, D)
            where the pair-wise stream starts: then Z = X, and so are its projections.
        partner: (B,), for each image the index in the batch of its distractor.
        distractor_stream: where the distractor's keys and values come from, its self-attention stream ("sa") or its
            own pair-wise stream ("pwca").
        cls_only: only the CLS tokens' outputs are wanted.

    Returns:
        tokens (2B, n, D), and the self-attention stream's q (B, h, n, d) and k (B, h, N, d); n is 1 or N.
    """
    attn, batch = block.attn, len(partner)
    normed = block.norm1(tokens)
    if cls_only:
        tokens = tokens[:, :1]
        q = project_queries(attn, normed[:, :1])
        k, v = project_keys_values(attn, normed)
    else:
        q, k, v = project(attn, normed)
    if has_pair_attention(attn, q):
        attended = pair_attention(q, k, v, partner, attn.scale, distractor_stream)
    else:
        attended = _attend_both(attn, q, k, v, partner, distractor_stream)
    if len(tokens) == batch:
        tokens = torch.cat([tokens, tokens])
    return finish_block(block, tokens, attended), q[:batch], k[:batch]


def _attend_both(attn: Attention, q: Tensor, k: Tensor, v: Tensor, partner: Tensor, distractor_stream: str) -> Tensor:
    """``pair_attention`` with the keys and values of both images concatenated, for any device."""
    batch = len(partner)
    pairs = []
    for own in (k, v):
        distractors = own[:batch] if distractor_stream == "sa" else own[-batch:]
        pairs.append(torch.cat([own[-batch:], distractors[partner]], dim=2))  # (B, h, 2N, d)
    return torch.cat([attend(attn, q[:batch], k[:batch], v[:batch]), attend(attn, q[-batch:], *pairs)])
