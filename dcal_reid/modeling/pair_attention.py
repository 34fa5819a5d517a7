"""Attention of the self-attention stream and of the pair-wise stream, without a copy of the concatenated keys.

Softmax over two sets of keys is a weighted mean of the softmax over each, with weights that the two log-sum-exps give.
And the backward pass of fused attention over one set is right for both if it is handed the output and the log-sum-exp
of both together. So keys and values of a distractor stay where they are: in the self-attention stream.
"""

import torch
from timm.layers import Attention
from torch import Tensor

__all__ = ["has_pair_attention", "pair_attention"]

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def has_pair_attention(attn: Attention, q: Tensor) -> bool:
    """Whether ``pair_attention`` can be used: PyTorch's fused attention on the CPU, without dropout."""
    return attn.fused_attn and q.device.type == "cpu" and not (attn.training and attn.attn_drop.p)


def pair_attention(q: Tensor, k: Tensor, v: Tensor, partner: Tensor, scale: float, distractor_stream: str) -> Tensor:
    """DCAL eqs. 1 and 4: each stream attends to its own tokens, the pair-wise one also to its distractor's.

    Args:
        q: (2B, h, n, d), queries of the self-attention stream and then of the pair-wise stream; or (B, h, n, d) where
            both are the same.
        k, v: (2B, h, N, d) or (B, h, N, d), keys and values likewise.
        partner: (B,), for each image the index in the batch of its distractor.
        scale: what q k^T is multiplied with, 1 / sqrt(d).
        distractor_stream: whose keys and values a distractor gives, sa | pwca.

    Returns:
        (2B, n, h d), heads merged.
    """
    return _PairAttention.apply(q, k.to(v.dtype), v, partner, scale, distractor_stream)


class _PairAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, partner, scale, distractor_stream):
        batch = len(partner)
        q = q.to(v.dtype)
        distractors = slice(0, batch) if distractor_stream == "sa" else slice(len(k) - batch, len(k))
        out, lse = _forward(q, k, v, scale=scale)
        other, other_lse = _forward(q[-batch:], k[distractors][partner], v[distractors][partner], scale=scale)
        if len(q) == batch:
            out, lse = torch.cat([out, out]), torch.cat([lse, lse])
        own_lse = lse[batch:]
        both = torch.logaddexp(own_lse, other_lse)
        # In place: nobody has seen `out` yet.
        out[batch:].mul_((own_lse - both).exp()[..., None]).add_(other * (other_lse - both).exp()[..., None])
        lse = torch.cat([lse[:batch], both])
        ctx.save_for_backward(q, k, v, partner, out, lse)
        ctx.scale, ctx.distractors = scale, distractors
        return out.transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, partner, out, lse = ctx.saved_tensors
        batch, distractors = len(partner), ctx.distractors
        grad = grad.unflatten(2, (q.shape[1], q.shape[3])).transpose(1, 2)

        def gradients(rows, q, k, v):
            return _backward(grad[rows], q, k, v, out[rows], lse[rows], 0.0, False, scale=ctx.scale)

        pairwise = slice(batch, None)
        if len(q) == batch:
            of_sa, of_pwca = (gradients(rows, q, k, v) for rows in (slice(0, batch), pairwise))
            dq, dk, dv = (a + b for a, b in zip(of_sa, of_pwca, strict=True))
        else:
            dq, dk, dv = gradients(slice(None), q, k, v)
        to_q, to_k, to_v = gradients(pairwise, q[-batch:], k[distractors][partner], v[distractors][partner])
        dq[-batch:] += to_q
        dk[distractors].index_add_(0, partner, to_k)
        dv[distractors].index_add_(0, partner, to_v)
        return dq, dk, dv, None, None, None
