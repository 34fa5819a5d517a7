import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.modeling import rollout
from dcal_reid.modeling.rollout import cls_rollout, top_patches


def full_product(queries_and_keys, scale):
    """DCAL eq. 2 as it stands: the whole product of 0.5 S + 0.5 E."""
    product = None
    for q, k in queries_and_keys:
        s = torch.softmax(q.double() @ k.double().transpose(-2, -1) * scale, dim=-1).mean(dim=1)
        s = 0.5 * s + 0.5 * torch.eye(s.shape[-1], dtype=s.dtype)
        product = s if product is None else s @ product
    return product


def random_layers(layers, batch, heads, tokens, dim, seed=0):
    qk = torch.randn(layers, 2, batch, heads, tokens, dim, generator=torch.Generator().manual_seed(seed))
    return [(2 * q, k) for q, k in qk]


@settings(max_examples=30)
@given(
    layers=st.integers(1, 5),
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    tokens=st.integers(2, 12),
    seed=st.integers(0, 1000),
)
def test_is_row_0_of_the_full_product(layers, batch, heads, tokens, seed):
    qk = random_layers(layers, batch, heads, tokens, 8, seed)
    r = cls_rollout(qk, 8**-0.5)
    torch.testing.assert_close(r.double(), full_product(qk, 8**-0.5)[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(r.sum(dim=1), torch.ones(batch))


# One row at a time, three rows, one image, all.
@pytest.mark.parametrize("values", [1, 3 * 7 * 3, 2 * 3 * 7 * 7, 10**9])
def test_does_not_depend_on_how_images_and_rows_are_cut(monkeypatch, values):
    qk = random_layers(3, 5, 3, 7, 8)
    expected = full_product(qk, 0.3)[:, 0].float()
    monkeypatch.setitem(rollout._VALUES_AT_A_TIME, "cpu", values)
    torch.testing.assert_close(cls_rollout(qk, 0.3), expected, rtol=0, atol=1e-6)


def test_the_last_block_needs_the_cls_query_only():
    qk = random_layers(3, 2, 3, 7, 8)
    short = [*qk[:-1], (qk[-1][0][:, :, :1], qk[-1][1])]
    assert torch.equal(cls_rollout(qk, 0.3), cls_rollout(short, 0.3))


@pytest.mark.parametrize("layers", [1, 3])
def test_stays_in_fp32_under_autocast_and_keeps_no_graph(layers):
    qk = [(q.requires_grad_(), k.requires_grad_()) for q, k in random_layers(layers, 2, 3, 7, 8)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        r = cls_rollout(qk, 0.3)
    assert r.dtype == torch.float32 and not r.requires_grad
    assert torch.equal(r, cls_rollout(qk, 0.3))


@pytest.mark.parametrize("layers", [1, 3])
def test_of_queries_and_keys_in_half_precision_it_is_fp32(layers):
    r = cls_rollout([(q.bfloat16(), k.bfloat16()) for q, k in random_layers(layers, 2, 3, 7, 8)], 0.3)
    assert r.dtype == torch.float32
    torch.testing.assert_close(r.sum(dim=1), torch.ones(2), rtol=0, atol=1e-6)


def test_top_patches_are_the_highest_and_never_the_cls_token():
    r = torch.tensor([[0.9, 0.1, 0.4, 0.3, 0.2], [0.0, 0.5, 0.1, 0.2, 0.4]])
    assert top_patches(r, 0.5).tolist() == [[1, 2], [0, 3]]
    assert top_patches(r, 1.0).sort(dim=1).values.tolist() == [[0, 1, 2, 3]] * 2
    assert top_patches(r, 0.01).tolist() == [[1], [0]]
    assert [top_patches(r, ratio).shape for ratio in (0.6, 0.65)] == [(2, 2), (2, 3)]  # of 2.4 and 2.6 patches
    # With a register, which has number 1 among the tokens.
    assert top_patches(r, 0.66, num_prefix=2).tolist() == [[0, 1], [2, 1]]
