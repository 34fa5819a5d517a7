"""timm's transformer block taken apart, so that queries can come from other tokens than keys and values.

Everything here calls the block's own layers (norm, qkv, proj, mlp, layer scale, stochastic depth): no weights are
added, and with the same tokens as queries and context the result is that of ``block(x)``.

Shapes: B images, h heads, d channels per head, D channels of a token, n queries, N keys.
"""

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.cait import ClassAttn
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..errors import InputError

__all__ = [
    "attend",
    "begin_block",
    "check_block",
    "cross_attention_block",
    "finish_block",
    "project",
    "project_keys_values",
    "project_queries",
    "self_attention_block",
    "uses_fused_attention",
]


def check_block(block: nn.Module) -> None:
    """Refuse a block whose attention is not softmax(q k^T / sqrt(d)) v over one sequence of tokens.

    Normalised queries and keys, normalised output, layer scale, stochastic depth and dropout are supported.

    Raises:
        InputError: another class of block or of attention, or a gated attention.
    """
    attn = getattr(block, "attn", None)
    if type(block) is not Block:
        found = f"blocks of class {type(block).__name__}"
    elif type(attn) is not Attention:
        found = f"attention of class {type(attn).__name__}"
    elif getattr(attn, "gate", None) is not None:
        found = "gated attention"
    else:
        return
    raise InputError(
        f"MODEL.BACKBONE.TIMM_MODEL has {found}, which DCAL does not support; "
        "choose a model made of timm's vision_transformer.Block and Attention, for instance deit_small_patch16_224"
    )


def project(attn: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of normalised tokens: (B, N, D) -> three times (B, h, N, d)."""
    q, k, v = _split_heads(attn, attn.qkv(x), 3)
    return attn.q_norm(q), attn.k_norm(k), v


def project_queries(attn: Attention, x: Tensor) -> Tensor:
    """Queries alone: (B, n, D) -> (B, h, n, d)."""
    (q,) = _split_heads(attn, _rows_of_linear(attn.qkv, x, slice(None, attn.num_heads * attn.head_dim)), 1)
    return attn.q_norm(q)


def project_keys_values(attn: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values alone: (B, N, D) -> twice (B, h, N, d)."""
    k, v = _split_heads(attn, _rows_of_linear(attn.qkv, x, slice(attn.num_heads * attn.head_dim, None)), 2)
    return attn.k_norm(k), v


def uses_fused_attention(attn: Attention | ClassAttn, v: Tensor) -> bool:
    """timm's switch, except for training in half precision on the CPU.

    There PyTorch's fused attention is slower than explicit attention because of its backward pass: six times with 65
    tokens (docs/decisions.md).
    """
    half_precision = v.device.type == "cpu" and v.dtype in (torch.bfloat16, torch.float16)
    return attn.fused_attn and not (half_precision and v.requires_grad and torch.is_grad_enabled())


def attend(attn: Attention | ClassAttn, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with the heads merged (DCAL eq. 1): -> (B, n, h d)."""
    dropout = attn.attn_drop.p if attn.training else 0.0
    if uses_fused_attention(attn, v):
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=attn.scale)
    else:
        x = F.dropout((q * attn.scale @ k.transpose(-2, -1)).softmax(dim=-1), dropout) @ v
    return x.transpose(1, 2).flatten(2)


def begin_block(block: Block, x: Tensor, cls_only: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What precedes the softmax in a pre-norm block: normalisation and projections.

    Args:
        block: timm's block.
        x: (B, N, D), the CLS token first.
        cls_only: only the CLS token's output is needed, so the other tokens need no queries.

    Returns:
        x (B, n, D), the tokens whose outputs are needed, their q (B, h, n, d), and k and v of all tokens (B, h, N, d),
        where n is 1 or N.
    """
    attn, normed = block.attn, block.norm1(x)
    if not cls_only:
        return x, *project(attn, normed)
    return x[:, :1], project_queries(attn, normed[:, :1]), *project_keys_values(attn, normed)


def finish_block(block: Block, x: Tensor, attended: Tensor) -> Tensor:
    """What follows the softmax in a pre-norm block: output projection, FFN and both residual connections.

    Token by token: x (B, n, D) and attended (B, n, h d) -> (B, n, D).
    """
    attn = block.attn
    attended = attn.proj_drop(attn.proj(attn.norm(attended)))
    x = x + block.drop_path1(block.ls1(attended))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def self_attention_block(block: Block, x: Tensor, cls_only: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """``block(x)`` that also returns its queries and keys, from which rollout is computed.

    Args:
        block: timm's block.
        x: (B, N, D), the CLS token first.
        cls_only: only the CLS token's output is needed; queries and FFN of the other tokens are then skipped.

    Returns:
        x (B, n, D), q (B, h, n, d) and k (B, h, N, d), where n is 1 or N.
    """
    x, q, k, v = begin_block(block, x, cls_only)
    return finish_block(block, x, attend(block.attn, q, k, v)), q, k


def cross_attention_block(block: Block, queries: Tensor, context: Tensor) -> Tensor:
    """A block whose queries come from (B, n, D) and whose keys and values from ``context`` (B, N, D): -> (B, n, D)."""
    q = project_queries(block.attn, block.norm1(queries))
    k, v = project_keys_values(block.attn, block.norm1(context))
    return finish_block(block, queries, attend(block.attn, q, k, v))


def _rows_of_linear(linear: nn.Linear, x: Tensor, rows: slice) -> Tensor:
    return F.linear(x, linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def _split_heads(attn: Attention, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(B, N, parts h d) -> ``parts`` tensors (B, h, N, d)."""
    return x.unflatten(-1, (parts, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
