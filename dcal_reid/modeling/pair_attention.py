"""Attention of the self-attention stream and of the pair-wise stream, without concatenating their keys and values.

Attention over two sets of keys is a weighted mean of the attention over each set, with weights given by the two
log-sum-exps. The backward pass of fused attention over one set gives its exact gradients if it receives the output and
the log-sum-exp of both sets together. So the two sets need not be concatenated.
"""

from collections.abc import Sequence

import torch
from timm.layers import Attention
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention

from .attention import uses_fused_attention

__all__ = ["has_pair_attention", "of_distractors", "pair_attention", "stream_places"]

_aten = torch.ops.aten


def stream_places(length: int, batch: int, distractor_stream: str, starts: bool) -> tuple[int, slice, slice]:
    """Where the streams are in the batch dimension of queries, keys and values.

    Args:
        length: S + B; S where the pair-wise stream starts.
        batch: B.
        distractor_stream, starts: as for ``pair_attention``.

    Returns:
        S, the slice of the pair-wise stream, and the slice that ``partner`` indexes into.
    """
    images = length if starts else length - batch
    pairs = slice(0, batch) if starts else slice(images, None)
    return images, pairs, slice(0, images) if distractor_stream == "sa" else pairs


def of_distractors(own: Tensor, partner: Tensor, distractor_stream: str, starts: bool = False) -> Tensor:
    """The keys, or the values, of each image's distractor.

    Args:
        own: (S + B, h, N, d), keys or values of both streams; (S, h, N, d) where the pair-wise stream starts.
        partner: (B,), the position of each image's distractor within the distractor's stream.
        distractor_stream: sa | pwca | noise. noise: drawn from the standard normal distribution at each call.
        starts: as for ``pair_attention``.

    Returns:
        (B, h, N, d).
    """
    if distractor_stream == "noise":
        return torch.randn(len(partner), *own.shape[1:], dtype=own.dtype, device=own.device)
    *_, distractors = stream_places(len(own), len(partner), distractor_stream, starts)
    return own[distractors].index_select(0, partner)


def has_pair_attention(attn: Attention, v: Tensor) -> bool:
    """Whether ``pair_attention`` can be used for values v: it needs fused attention and does not support dropout.

    On the GPU it uses flash attention, which requires half precision and a head dimension that is a multiple of 8.
    """
    if not uses_fused_attention(attn, v) or (attn.training and attn.attn_drop.p):
        return False
    if v.device.type == "cuda":
        # PyTorch's own function pads the head dimension; the operator below does not.
        return v.shape[-1] % 8 == 0 and can_use_flash_attention(SDPAParams(v, v, v, None, 0.0, False, False))
    return v.device.type == "cpu"


def pair_attention(
    q: Tensor, k: Tensor, v: Tensor, partner: Tensor, scale: float, distractor_stream: str, starts: bool
) -> Tensor:
    """DCAL eqs. 1 and 4: each stream attends to its own tokens, the pair-wise stream also to its distractors' tokens.

    Args:
        q: (S + B, h, n, d), queries of the self-attention stream and then of the pair-wise stream, which holds the
            first B of the S images; (S, h, n, d) where the pair-wise stream starts, with the same queries.
        k, v: (S + B, h, N, d) or (S, h, N, d), keys and values likewise.
        partner: (B,), the position of each image's distractor within the distractor's stream.
        scale: the factor of q k^T, 1 / sqrt(d).
        distractor_stream: which stream the distractors' keys and values come from, sa | pwca.
        starts: whether the pair-wise stream starts here.

    Returns:
        (S + B, n, h d), heads merged.
    """
    return _PairAttention.apply(q, k.to(v.dtype), v, partner, scale, distractor_stream, starts)


def _forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Fused attention: the output (B, h, n, d), its log-sum-exp (B, h, n) and what the GPU's backward pass needs."""
    if q.device.type == "cpu":
        return *_aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=scale), ()
    out, lse, *_, random_state, unused, _ = _aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)
    return out, lse, (random_state, unused)


def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    random: Sequence[Tensor],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v; ``random`` is the third value that ``_forward`` returns."""
    if q.device.type == "cpu":
        function = _aten._scaled_dot_product_flash_attention_for_cpu_backward
        return function(grad, q, k, v, out, lse, 0.0, False, scale=scale)
    function, lengths = _aten._scaled_dot_product_flash_attention_backward, (None, None, q.shape[2], k.shape[2])
    return function(grad, q, k, v, out, lse, *lengths, 0.0, False, *random, scale=scale)


class _PairAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, partner, scale, distractor_stream, starts):
        q = q.to(v.dtype)
        images, pairs, _ = stream_places(len(q), len(partner), distractor_stream, starts)
        pairs_out = slice(images, None)  # where the pair-wise stream is in the outputs
        out, lse, random = _forward(q, k, v, scale)
        theirs = (of_distractors(own, partner, distractor_stream, starts) for own in (k, v))
        other, other_lse, _ = _forward(q[pairs], *theirs, scale)
        if starts:
            out, lse = torch.cat([out, out[pairs]]), torch.cat([lse, lse[pairs]])
        own_lse = lse[pairs_out]
        both = torch.logaddexp(own_lse, other_lse)
        # In place: `out` has no other users yet.
        out[pairs_out].mul_((own_lse - both).exp()[..., None]).add_(other * (other_lse - both).exp()[..., None])
        lse = torch.cat([lse[:images], both])
        ctx.save_for_backward(q, k, v, partner, out, lse, *random)
        ctx.scale, ctx.starts, ctx.distractor_stream = scale, starts, distractor_stream
        return out.transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, partner, out, lse, *random = ctx.saved_tensors
        images, pairs, distractors = stream_places(len(q), len(partner), ctx.distractor_stream, ctx.starts)
        pairs_out = slice(images, None)
        grad = grad.unflatten(2, (q.shape[1], q.shape[3])).transpose(1, 2)

        def gradients(rows, q, k, v):
            return _backward(grad[rows], q, k, v, out[rows], lse[rows], random, ctx.scale)

        if ctx.starts:
            dq, dk, dv = gradients(slice(0, len(q)), q, k, v)
            for total, part in zip((dq, dk, dv), gradients(pairs_out, q[pairs], k[pairs], v[pairs]), strict=True):
                total[pairs] += part
        else:
            dq, dk, dv = gradients(slice(None), q, k, v)
        theirs = (of_distractors(own, partner, ctx.distractor_stream, ctx.starts) for own in (k, v))
        to_q, to_k, to_v = gradients(pairs_out, q[pairs], *theirs)
        dq[pairs] += to_q
        dk[distractors].index_add_(0, partner, to_k)
        dv[distractors].index_add_(0, partner, to_v)
        return dq, dk, dv, None, None, None, None
