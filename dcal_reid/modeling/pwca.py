"""Pair-wise cross-attention (DCAL eq. 4): a regulariser that is there in training only and has no weights.

The pair-wise stream Z runs through the same blocks as the self-attention stream X. In each block its queries attend
to its own tokens and to those of a distractor, another image of the batch, under one softmax over 2N + 2 keys.
"""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from .attention import attend, finish_block, project, project_keys_values, project_queries

__all__ = ["pairwise_block"]


def pairwise_block(
    block: Block,
    x: Tensor,
    z: Tensor | None,
    partner: Tensor,
    *,
    distractor_stream: str = "sa",
    cls_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One transformer block of the self-attention stream and of the pair-wise stream.

    Both streams go through the linear layers together, as 2B images.

    Args:
        block: timm's block, shared by both streams.
        x: (B, N, D), the self-attention stream, the CLS token first.
        z: (B, N, D), the pair-wise stream. None where it starts: then Z = X, and so are its projections.
        partner: (B,), for each image the index in the batch of its distractor.
        distractor_stream: where the distractor's keys and values come from, its self-attention stream ("sa") or its
            own pair-wise stream ("pwca").
        cls_only: only the CLS tokens' outputs are wanted.

    Returns:
        x (B, n, D), z (B, n, D), and the self-attention stream's q (B, h, n, d) and k (B, h, N, d); n is 1 or N.
    """
    attn = block.attn
    tokens = x if z is None else torch.cat([x, z])  # (B or 2B, N, D)
    normed = block.norm1(tokens)
    if cls_only:
        tokens = tokens[:, :1]
        q = project_queries(attn, normed[:, :1])
        k, v = project_keys_values(attn, normed)
    else:
        q, k, v = project(attn, normed)

    (q_x, q_z), (k_x, k_z), (v_x, v_z) = ((t, t) if z is None else t.chunk(2) for t in (q, k, v))
    distractor_k, distractor_v = (k_x, v_x) if distractor_stream == "sa" else (k_z, v_z)
    attended = torch.cat(
        [
            attend(attn, q_x, k_x, v_x),
            attend(attn, q_z, torch.cat([k_z, distractor_k[partner]], 2), torch.cat([v_z, distractor_v[partner]], 2)),
        ]
    )  # (2B, n, h d)
    if z is None:
        tokens = torch.cat([tokens, tokens])
    x, z = finish_block(block, tokens, attended).chunk(2)
    return x, z, q_x, k_x
