"""Attention rollout (Abnar and Zuidema, 2020; DCAL eq. 2), of the CLS token only.

GLCA needs one row of the accumulated attention S_L ... S_1. Evaluated from the left, that row takes L vector-matrix
products, each of them streamed over blocks of rows of softmax(q k^T): no (N+1) x (N+1) matrices are multiplied, and
memory is linear in the number of tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["attention_weights", "cls_rollout", "roll_back", "top_patches"]

# How many values of softmax(q k^T) are computed at a time: on the CPU as many as fit into its cache (2 MB in fp32).
_VALUES_AT_A_TIME = {"cpu": 2**19, "cuda": 2**25}


def attention_weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) in fp32: q (B, h, n, d), k (B, h, N, d) -> (B, h, n, N)."""
    return (q @ k.transpose(-2, -1) * scale).softmax(dim=-1, dtype=torch.float32)


@torch.no_grad()
def cls_rollout(queries_and_keys: Sequence[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Row 0 of the product over blocks of 0.5 S + 0.5 E, S the attention averaged over heads (DCAL eq. 2).

    Args:
        queries_and_keys: for each block from the first to the last, q (B, h, N, d) and k (B, h, N, d) with the CLS
            token first. The last block's q may hold only the CLS token.
        scale: the factor of q k^T, 1 / sqrt(d).

    Returns:
        (B, N) in fp32, each row summing to 1. It has no gradient, because it only selects patches.
    """
    *earlier, (q, k) = queries_and_keys
    with torch.autocast(q.device.type, enabled=False):
        r = 0.5 * attention_weights(q[:, :, :1], k, scale).mean(dim=1)[:, 0]  # (B, N), e_cls S_L
        r[:, 0] += 0.5
    return roll_back(r, earlier, scale)


@torch.no_grad()
def roll_back(r: Tensor, queries_and_keys: Sequence[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Propagate weights over tokens from the output of some blocks back to their input: r times eq. 2's product.

    Args:
        r: (B, N) in fp32.
        queries_and_keys, scale: as for ``cls_rollout``, but every q has all tokens.
    """
    for q, k in reversed(queries_and_keys):
        with torch.autocast(q.device.type, enabled=False):
            r = 0.5 * r + 0.5 * _weighted_rows(r, q, k, scale)
    return r


def top_patches(rollout: Tensor, ratio: float, num_prefix: int = 1) -> Tensor:
    """The patches with the highest response; the CLS token and registers do not compete.

    Args:
        rollout: (B, num_prefix + N), the CLS token first.
        ratio: R, in (0, 1].
        num_prefix: tokens before the patches.

    Returns:
        (B, max(1, round(R N))) patch indices in 0 .. N - 1, the highest response first.
    """
    patches = rollout[:, num_prefix:]
    return patches.topk(max(1, round(ratio * patches.shape[1])), dim=1).indices


def _weighted_rows(r: Tensor, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The mean over heads of sum_i r_i softmax(scale q_i k^T): -> (B, N)."""
    batch, heads, num_tokens, _ = q.shape
    q, k = q * scale, k.transpose(-2, -1)
    if isinstance(batch, torch.SymInt):  # torch.export: the number of images is symbolic and cannot control the loop
        return _summed_rows(r, q, k, num_tokens)
    values = _VALUES_AT_A_TIME.get(q.device.type, 2**23)
    # Whole images if they fit, else some rows of one image.
    images = max(1, values // (heads * num_tokens**2))
    rows = num_tokens if images > 1 else max(1, values // (heads * num_tokens))
    parts = zip(*(t.split(images) for t in (r, q, k)), strict=True)
    return torch.cat([_summed_rows(*part, rows) for part in parts])


def _summed_rows(r: Tensor, q: Tensor, k: Tensor, rows: int) -> Tensor:
    """``_weighted_rows`` over ``rows`` rows at a time, with q scaled and k transposed."""
    total = torch.zeros_like(r)
    for start in range(0, q.shape[2], rows):
        block = slice(start, start + rows)
        attention = (q[:, :, block] @ k).softmax(dim=-1, dtype=torch.float32)  # (B, h, rows, N)
        total += (r[:, None, None, block] @ attention).mean(dim=1)[:, 0]
    return total
