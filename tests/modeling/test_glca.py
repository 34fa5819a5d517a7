import pytest
import timm
import torch

from dcal_reid.modeling.attention import cross_attention_block
from dcal_reid.modeling.backbones import ViTBackbone
from dcal_reid.modeling.glca import GLCA


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=(64, 32), depth=3, embed_dim=48, num_heads=3).eval()


def make(vit, num_blocks=1, ratio=0.3, readout="mean", **options):
    return GLCA(
        vit.blocks[-num_blocks:],
        vit.norm,
        ratio=ratio,
        readout=readout,
        cross_block=ViTBackbone.cross_block,
        cross_attention=ViTBackbone.cross_attention,
        **options,
    ).eval()


@pytest.fixture
def context():
    return torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def rollout():
    return torch.rand(2, 9, generator=torch.Generator().manual_seed(2))


def test_starts_as_a_copy_with_weights_of_its_own(vit):
    glca = make(vit)
    pairs = list(zip(glca.blocks[0].parameters(), vit.blocks[-1].parameters(), strict=True))
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    assert glca.norm.weight is not vit.norm.weight


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7, 1.0])
def test_cls_equals_self_attention_for_every_ratio(vit, context, rollout, ratio):
    expected = vit.norm(vit.blocks[-1](context))[:, 0]
    torch.testing.assert_close(make(vit, 1, ratio, "cls")([context], rollout), expected, rtol=1e-5, atol=1e-5)


def test_with_all_patches_every_token_equals_self_attention(vit, context, rollout):
    expected = vit.norm(vit.blocks[-1](context))
    mean = make(vit, 1, 1.0, "mean")([context], rollout)
    torch.testing.assert_close(mean, expected.mean(dim=1), rtol=1e-5, atol=1e-5)
    cls_and_local = make(vit, 1, 1.0, "cls+local")([context], rollout)
    expected = 0.5 * (expected[:, 0] + expected[:, 1:].mean(dim=1))
    torch.testing.assert_close(cls_and_local, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_with_the_cls_readout_the_selected_patches_change_nothing(vit, context, num_blocks):
    """Forward and backward: which patches are local queries, or whether there are any, is the same to the bit or to
    rounding, because the CLS token's output takes its own query and the context's keys and values only."""
    glca = make(vit, num_blocks, 0.5, "mean")
    results = []
    for patches in ([1, 2, 3, 4], [8, 7, 6, 5], []):
        tokens = context[:, [0, *patches]]
        for block in glca.blocks:
            tokens = cross_attention_block(block, tokens, context)
        feature = glca.norm(tokens)[:, 0]
        results.append((feature, *torch.autograd.grad(feature.square().sum(), list(glca.parameters()))))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_with_the_cls_readout_no_rollout_is_needed(vit, context, rollout):
    glca = make(vit, readout="cls")
    assert not glca.needs_selection and make(vit, readout="mean").needs_selection
    assert glca.local_queries(context, None).shape == (2, 1, 48)
    assert torch.equal(glca([context], None), glca([context], rollout))


def test_the_selection_is_used_with_the_mean_readout(vit, context, rollout):
    glca = make(vit)
    queries = glca.local_queries(context, rollout)
    assert queries.shape == (2, 1 + 2, 48)  # round(0.3 * 8)
    for i in range(2):
        best = 1 + rollout[i, 1:].argsort(descending=True)[:2]
        assert torch.equal(queries[i], context[i, [0, *best]])
    assert not torch.allclose(glca([context], rollout), glca([context], -rollout))


@pytest.mark.parametrize("readout", ["cls", "mean", "cls+local"])
def test_rollout_row_is_that_of_the_queries_which_are_read_out(vit, context, rollout, readout):
    glca = make(vit, readout=readout)
    block = glca.blocks[0]
    q, k, _ = block.attn.qkv(block.norm1(context)).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
    rows = 0.5 * torch.softmax(q @ k.transpose(2, 3) / 4, dim=-1).mean(dim=1) + 0.5 * torch.eye(9)  # (2, 9, 9)
    for i in range(2):
        best = 1 + rollout[i, 1:].argsort(descending=True)[:2]
        expected = {
            "cls": rows[i, 0],
            "mean": rows[i, [0, *best]].mean(dim=0),
            "cls+local": 0.5 * (rows[i, 0] + rows[i, best].mean(dim=0)),
        }[readout]
        torch.testing.assert_close(glca.rollout_row(context, rollout)[i], expected)


def test_every_parameter_gets_a_gradient(vit, context, rollout):
    for readout in ("cls", "mean", "cls+local"):
        glca = make(vit, 2, 0.3, readout)
        glca([context, context], rollout).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in glca.parameters())


@pytest.mark.parametrize("readout", ["cls", "mean"])
def test_local_keys_are_those_of_the_selected_patches(vit, context, readout):
    """Against the same block on only these tokens; with all patches selected, all are keys."""
    response = torch.rand(len(context), context.shape[1])
    local = make(vit, ratio=0.5, readout=readout, keys="local")
    chosen = torch.cat(
        [context[:, :1], context.gather(1, local.selection(response)[:, 1:, None].expand(-1, -1, 48))], 1
    )
    expected = vit.norm(vit.blocks[-1](chosen))
    expected = expected[:, 0] if readout == "cls" else expected.mean(dim=1)
    torch.testing.assert_close(local([context], response), expected, rtol=1e-5, atol=1e-5)
    whole = [make(vit, ratio=1.0, readout=readout, keys=keys)([context], response) for keys in ("local", "all")]
    torch.testing.assert_close(*whole, rtol=1e-5, atol=1e-5)


def test_with_local_keys_the_selection_matters_to_the_cls_token(vit, context):
    glca = make(vit, ratio=0.3, readout="cls", keys="local")
    assert glca.needs_selection
    one, other = torch.rand(2, len(context), context.shape[1])
    assert not torch.allclose(glca([context], one), glca([context], other))
    row = glca.rollout_row(context, one)
    torch.testing.assert_close(row.sum(dim=1), torch.ones(len(context)))
    unselected = torch.ones_like(row).scatter(1, glca.selection(one), 0).bool()
    assert (row[unselected] == 0).all()


def test_fresh_blocks_are_drawn_anew(vit):
    copied, fresh = make(vit), make(vit, init="fresh")
    weights = [g.blocks[0].attn.qkv.weight for g in (copied, fresh)]
    assert torch.equal(weights[0], vit.blocks[-1].attn.qkv.weight) and not torch.equal(*weights)
    assert torch.equal(fresh.blocks[0].norm1.weight, torch.ones(48))
    assert 0.015 < weights[1].std() < 0.025


def test_fresh_blocks_keep_nothing_of_those_beside_them():
    """Layer scale and the norms of queries and keys included."""
    options = {"init_values": 0.1, "qk_norm": True, "depth": 1, "embed_dim": 48, "num_heads": 3}
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(64, 32), **options)
    for parameter in vit.parameters():
        torch.nn.init.uniform_(parameter, 2, 3)
    fresh = make(vit, init="fresh")
    assert all((parameter < 2).all() for parameter in fresh.parameters())
    assert torch.equal(fresh.blocks[0].ls1.gamma, torch.full((48,), 0.1))
