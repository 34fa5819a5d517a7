import pytest
import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, ParallelScalingBlock, ResPostBlock

from dcal_reid.errors import InputError
from dcal_reid.modeling.attention import (
    check_block,
    cross_attention_block,
    self_attention_block,
    uses_fused_attention,
)


def block(**kwargs):
    torch.manual_seed(0)
    return Block(48, 3, qkv_bias=True, **kwargs).eval()


@pytest.fixture
def tokens():
    return torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options", [{}, {"qk_norm": True}, {"init_values": 0.1}, {"scale_attn_norm": True}, {"qkv_bias": False}]
)
@pytest.mark.parametrize("fused", [True, False])
def test_equals_timms_block(tokens, options, fused):
    """Query-key norm, layer scale and the rest are honoured."""
    timm_block = Block(48, 3, **{"qkv_bias": True, **options}).eval()
    timm_block.attn.fused_attn = fused
    expected = timm_block(tokens)
    x, q, k = self_attention_block(timm_block, tokens)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
    assert q.shape == k.shape == (2, 3, 9, 16)
    torch.testing.assert_close(cross_attention_block(timm_block, tokens, tokens), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"attn_drop": 0.5}, {"proj_drop": 0.5}, {"drop_path": 0.5}])
@pytest.mark.parametrize("fused", [True, False])
def test_in_training_timms_block_drops_the_same(tokens, options, fused):
    timm_block = block(**options).train()
    timm_block.attn.fused_attn = fused
    torch.manual_seed(1)
    expected = timm_block(tokens)
    torch.manual_seed(1)
    torch.testing.assert_close(self_attention_block(timm_block, tokens)[0], expected, rtol=1e-5, atol=1e-5)


def test_training_in_half_precision_on_the_cpu_is_explicit():
    attn, v = Attention(48, 3), torch.randn(2, 3, 9, 16, requires_grad=True)
    for attn.fused_attn in (True, False):
        assert uses_fused_attention(attn, v) == uses_fused_attention(attn, v.to("meta").half()) == attn.fused_attn
        assert uses_fused_attention(attn, v.detach().half()) == attn.fused_attn
        with torch.no_grad():
            assert uses_fused_attention(attn, v.half()) == attn.fused_attn
        assert not uses_fused_attention(attn, v.half()) and not uses_fused_attention(attn, v.bfloat16())


def test_cls_only_is_the_first_token_of_the_whole(tokens):
    timm_block = block()
    x, q, k = self_attention_block(timm_block, tokens, cls_only=True)
    assert x.shape == (2, 1, 48) and q.shape == (2, 3, 1, 16) and k.shape == (2, 3, 9, 16)
    torch.testing.assert_close(x, timm_block(tokens)[:, :1], rtol=1e-5, atol=1e-5)


def test_cross_attention_is_the_softmax_over_the_context(tokens):
    """Against the formula written out with loops over images, heads and queries."""
    b = block()
    context = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(2))
    weight, bias = b.attn.qkv.weight, b.attn.qkv.bias
    out = torch.empty_like(tokens)
    for i in range(2):
        q = b.norm1(tokens[i]) @ weight[:48].T + bias[:48]
        k = b.norm1(context[i]) @ weight[48:96].T + bias[48:96]
        v = b.norm1(context[i]) @ weight[96:].T + bias[96:]
        attended = torch.zeros(9, 48)
        for h in range(3):
            s = slice(16 * h, 16 * h + 16)
            for n in range(9):
                attended[n, s] = torch.softmax(q[n, s] @ k[:, s].T / 4, dim=0) @ v[:, s]
        x = tokens[i] + b.attn.proj(attended)
        out[i] = x + b.mlp(b.norm2(x))
    torch.testing.assert_close(cross_attention_block(b, tokens, context), out, rtol=1e-5, atol=1e-5)


def test_dropout_of_attention_acts_in_training_only(tokens):
    b = block(attn_drop=0.5)
    assert torch.equal(self_attention_block(b, tokens)[0], self_attention_block(b, tokens)[0])
    b.train()
    assert not torch.equal(self_attention_block(b, tokens)[0], self_attention_block(b, tokens)[0])


@pytest.mark.parametrize("kind", [ResPostBlock, ParallelScalingBlock])
def test_refuses_other_blocks_by_name(kind):
    with pytest.raises(InputError, match=kind.__name__):
        check_block(kind(48, 3))


def test_refuses_other_attention_by_name():
    class Windowed(Attention):
        pass

    with pytest.raises(InputError, match="Windowed"):
        check_block(Block(48, 3, attn_layer=Windowed))


def test_refuses_gated_attention():
    gated = block()
    gated.attn.gate = torch.nn.Linear(48, 48)
    with pytest.raises(InputError, match="gated"):
        check_block(gated)


def test_accepts_every_block_of_deit():
    for b in timm.create_model("deit_tiny_patch16_224", depth=2).blocks:
        check_block(b)
