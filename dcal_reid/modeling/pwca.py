"""Pair-wise cross-attention (DCAL eq. 4): a regulariser that is used in training only and has no weights of its own.

The pair-wise stream Z runs through the same blocks as the self-attention stream X. In each block its queries attend
to its own tokens and to those of a distractor, another image of the batch, under one softmax over 2N + 2 keys.
"""

from collections.abc import Callable

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from .attention import attend, begin_block, finish_block
from .pair_attention import has_pair_attention, of_distractors, pair_attention, stream_places

__all__ = ["attend_both", "pairwise_block"]


def pairwise_block(
    block: Block,
    tokens: Tensor,
    partner: Tensor,
    distractor_stream: str = "sa",
    starts: bool = False,
    cls_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One transformer block of the self-attention stream and of the pair-wise stream.

    Both streams go through the linear layers together.

    Args:
        block: timm's block, shared by both streams.
        tokens: (S + B, N, D), the self-attention stream and then the pair-wise stream, which holds the first B of the S
            images; the CLS token first.
        partner: (B,), the position of each image's distractor within the distractor's stream.
        distractor_stream: where the distractor's keys and values come from: its self-attention stream ("sa"), its own
            pair-wise stream ("pwca"), or no image at all ("noise", see ``of_distractors``).
        starts: the pair-wise stream starts here: tokens are (S, N, D), and Z = X, as are its projections.
        cls_only: only the CLS tokens' outputs are needed.

    Returns:
        tokens (S + B, n, D), and the self-attention stream's q (S, h, n, d) and k (S, h, N, d); n is 1 or N.
    """
    attn, batch = block.attn, len(partner)
    images = len(tokens) - (0 if starts else batch)
    tokens, q, k, v = begin_block(block, tokens, cls_only)
    if distractor_stream != "noise" and has_pair_attention(attn, v):
        attended = pair_attention(q, k, v, partner, attn.scale, distractor_stream, starts)
    else:
        attended = attend_both(attn, q, k, v, partner, distractor_stream, starts)
    if starts:
        tokens = torch.cat([tokens, tokens[:batch]])
    return finish_block(block, tokens, attended), q[:images], k[:images]


def attend_both(
    attn: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    partner: Tensor,
    distractor_stream: str,
    starts: bool = False,
    attend: Callable[..., Tensor] = attend,
) -> Tensor:
    """``pair_attention`` with the keys and values of both images concatenated, for any device, attention, and noise.

    Args:
        attn: timm's layer, which is passed to ``attend``.
        q, k, v, partner, starts: as for ``pair_attention``.
        distractor_stream: as for ``pairwise_block``.
        attend: the layer's softmax attention, (attn, q, k, v) -> (B, n, h d). It is called for the self-attention
            stream with its N keys, and for the pair-wise stream with 2N: each image's own, then the distractor's.

    Returns:
        (S + B, n, h d), heads merged.
    """
    images, pairs, _ = stream_places(len(q), len(partner), distractor_stream, starts)
    both_k, both_v = (  # (B, h, 2N, d)
        torch.cat([own[pairs], of_distractors(own, partner, distractor_stream, starts)], dim=2) for own in (k, v)
    )
    own = attend(attn, q[:images], k[:images], v[:images])
    return torch.cat([own, attend(attn, q[pairs], both_k, both_v)])
