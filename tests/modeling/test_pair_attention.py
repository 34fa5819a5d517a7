"""Against the softmax over the concatenated keys, forward and backward."""

import pytest
import torch
from timm.layers import Attention

from dcal_reid.modeling.pair_attention import has_pair_attention, of_distractors, pair_attention

B, HEADS, N, D = 4, 3, 9, 16
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def reference(q, k, v, partner, scale, stream):
    """Two softmaxes, written out, in the precision of the input."""
    own = slice(len(k) - B, len(k))
    distractors = slice(0, B) if stream == "sa" else own
    keys = torch.cat([k[own], k[distractors][partner]], dim=2)
    values = torch.cat([v[own], v[distractors][partner]], dim=2)
    sa = (q[:B] @ k[:B].transpose(2, 3) * scale).softmax(dim=3) @ v[:B]
    pwca = (q[-B:] @ keys.transpose(2, 3) * scale).softmax(dim=3) @ values
    return torch.cat([sa, pwca]).transpose(1, 2).flatten(2)


# The last is not a permutation: an intra-class partner can belong to several images.
@pytest.mark.parametrize("partner", [[1, 2, 3, 0], [0, 1, 2, 3], [2, 2, 0, 2]])
@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("queries", [1, N])
@pytest.mark.parametrize(
    ("device", "dtype", "error"),
    [("cpu", torch.float32, 1e-5), pytest.param("cuda", torch.bfloat16, 3e-2, marks=NO_GPU)],
)
def test_equals_the_softmax_over_both_sets_of_keys(partner, stream, streams, queries, device, dtype, error):
    generator = torch.Generator().manual_seed(0)
    partner = torch.tensor(partner)
    ours, theirs = [], []
    for tokens in (queries, N, N):
        values = torch.randn(streams * B, HEADS, tokens, D, dtype=torch.float64, generator=generator).to(dtype)
        theirs.append(values.double().requires_grad_())
        ours.append(values.to(device).requires_grad_())
    expected = reference(*theirs, partner, 0.3, stream)
    out = pair_attention(*ours, partner.to(device), 0.3, stream, starts=streams == 1)
    assert out.shape == (2 * B, queries, HEADS * D)
    torch.testing.assert_close(out.cpu().double(), expected, rtol=error, atol=error)

    weights = torch.randn(expected.shape, dtype=torch.float64, generator=generator).to(dtype)
    (expected * weights.double()).sum().backward()
    (out * weights.to(device)).sum().backward()
    for actual, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual.grad.cpu().double(), wanted.grad, rtol=10 * error, atol=error)


def test_queries_and_keys_take_the_precision_of_the_values():
    """Under autocast a norm of queries and keys gives fp32."""
    q, k, v = torch.randn(3, 2 * B, HEADS, N, D, generator=torch.Generator().manual_seed(0)).bfloat16()
    partner = torch.tensor([1, 2, 3, 0])
    found, expected = (
        pair_attention(queries, keys, v, partner, 0.3, "sa", starts=False)
        for queries, keys in ((q.float(), k.float()), (q, k))
    )
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected)
    assert of_distractors(k, partner, "noise").dtype == torch.bfloat16


def test_large_logits_do_not_overflow():
    q = 100 * torch.randn(2 * B, HEADS, N, D, generator=torch.Generator().manual_seed(0))
    partner = torch.tensor([1, 2, 3, 0])
    out = pair_attention(q, q, q, partner, 1.0, "sa", starts=False)
    torch.testing.assert_close(out, reference(q, q, q, partner, 1.0, "sa"))


def test_keeps_no_copy_of_the_distractors_keys():
    """What the backward pass holds: queries, keys, values, the output and two small things."""
    q, k, v = (torch.randn(2 * B, HEADS, N, D, requires_grad=True) for _ in range(3))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pair_attention(q, k, v, torch.tensor([1, 2, 3, 0]), 0.25, "sa", starts=False)
    assert sum(kept.values()) == 4 * q.numel() + 2 * B * HEADS * N + B


def test_is_used_where_fused_attention_is_and_nothing_is_dropped():
    attn, q = Attention(48, 3, attn_drop=0.1), torch.randn(2, 3, 9, 16)
    attn.fused_attn = True
    assert not has_pair_attention(attn, q)
    assert has_pair_attention(attn.eval(), q)
    assert not has_pair_attention(attn, q.to("meta"))
    attn.fused_attn = False
    assert not has_pair_attention(attn, q)


@NO_GPU
def test_is_used_on_the_gpu_in_half_precision():
    attn, v = Attention(48, 3), torch.randn(2, 3, 9, 16, device="cuda")
    attn.fused_attn = True
    assert has_pair_attention(attn, v.bfloat16()) and has_pair_attention(attn, v.half())
    assert not has_pair_attention(attn, v)
    assert not has_pair_attention(Attention(36, 3), v[..., :12].bfloat16())
