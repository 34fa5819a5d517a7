import pytest
import torch
from timm.models.vision_transformer import Block

from dcal_reid.modeling.attention import self_attention_block
from dcal_reid.modeling.pwca import pairwise_block


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block(48, 3, qkv_bias=True).eval()


@pytest.fixture
def streams():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 7, 48, generator=generator), torch.randn(3, 7, 48, generator=generator)


def naive(block, z, other):
    """DCAL eq. 4 for one image: queries of z, keys and values of z and of the distractor."""
    out = []
    tokens = torch.cat([block.norm1(z), block.norm1(other)])
    _, k, v = (tokens @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=1)
    q = (block.norm1(z) @ block.attn.qkv.weight.T + block.attn.qkv.bias)[:, :48]
    for h in range(3):
        s = slice(16 * h, 16 * h + 16)
        out.append(torch.softmax(q[:, s] @ k[:, s].T / 4, dim=1) @ v[:, s])
    x = z + block.attn.proj(torch.cat(out, dim=1))
    return x + block.mlp(block.norm2(x))


def run(block, x, z, partner, **options):
    """The block on both streams: -> x, z, q, k. Without z the pair-wise stream starts here."""
    tokens, q, k = pairwise_block(block, x if z is None else torch.cat([x, z]), partner, starts=z is None, **options)
    return *tokens.chunk(2), q, k


@pytest.fixture(params=["fused", "explicit"], autouse=True)
def attention(request, block):
    """Without fused attention keys and values are concatenated."""
    block.attn.fused_attn = request.param == "fused"


@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("start", [True, False])
def test_equals_eq_4(block, streams, stream, start):
    x, z = streams
    partner = torch.tensor([2, 0, 1])
    new_x, new_z, q, k = run(block, x, None if start else z, partner, distractor_stream=stream)
    z = x if start else z
    distractors = x if stream == "sa" else z
    for i in range(3):
        expected = naive(block, z[i], distractors[partner[i]])
        torch.testing.assert_close(new_z[i], expected, rtol=1e-5, atol=1e-5)
    expected_x, expected_q, expected_k = self_attention_block(block, x)
    for actual, expected in ((new_x, expected_x), (q, expected_q), (k, expected_k)):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", [True, False])
def test_cls_only_is_the_first_token_of_the_whole(block, streams, start):
    x, z = streams
    partner = torch.tensor([2, 0, 1])
    whole = run(block, x, None if start else z, partner)
    short = run(block, x, None if start else z, partner, cls_only=True)
    torch.testing.assert_close(short[0], whole[0][:, :1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(short[1], whole[1][:, :1], rtol=1e-5, atol=1e-5)
    assert short[2].shape[2] == 1 and short[3].shape[2] == 7


def test_the_distractor_being_oneself_cancels(block, streams):
    x, _ = streams
    new_x, new_z, _, _ = run(block, x, None, torch.arange(3))
    torch.testing.assert_close(new_z, new_x, rtol=1e-5, atol=1e-5)


def test_attention_leaks_to_the_distractor(block, streams):
    """Changing only the distractor changes the pair-wise stream and not the self-attention stream."""
    x, _ = streams
    other = x.clone()
    other[1] += 1
    partner = torch.tensor([1, 2, 0])
    x1, z1, _, _ = run(block, x, None, partner)
    x2, z2, _, _ = run(block, other, None, partner)
    assert torch.equal(x1[0], x2[0])
    assert not torch.allclose(z1[0], z2[0])


def test_normalised_queries_and_keys_are_honoured(streams, attention):
    torch.manual_seed(0)
    block = Block(48, 3, qkv_bias=True, qk_norm=True).eval()
    torch.nn.init.normal_(block.attn.q_norm.weight)
    x, _ = streams
    new_x, new_z, _, _ = run(block, x, None, torch.arange(3))
    torch.testing.assert_close(new_x, block(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new_z, block(x), rtol=1e-5, atol=1e-5)


def test_noise_takes_the_place_of_the_distractors_keys_and_values(block, streams):
    """Table 4: the noise belongs to no image, so neither the partner nor other images matter, and it is new in each
    block."""
    x, z = (tokens.requires_grad_() for tokens in streams)

    def noisy(x, z, partner):
        torch.manual_seed(1)
        return run(block, x, z, partner, distractor_stream="noise")

    new_x, new_z, *_ = noisy(x, z, torch.tensor([2, 0, 1]))
    torch.manual_seed(1)
    k, v = (torch.randn(3, 3, 7, 16) for _ in range(2))
    expected_z = []
    for i in range(3):
        qkv = block.norm1(z[i]) @ block.attn.qkv.weight.T + block.attn.qkv.bias
        q, own_k, own_v = qkv.unflatten(1, (3, 3, 16)).permute(1, 2, 0, 3)
        weights = (q @ torch.cat([own_k, k[i]], dim=1).transpose(1, 2) / 4).softmax(dim=2)
        attended = (weights @ torch.cat([own_v, v[i]], dim=1)).transpose(0, 1).flatten(1)
        expected = z[i] + block.attn.proj(attended)
        expected_z.append(expected + block.mlp(block.norm2(expected)))
    torch.testing.assert_close(new_z, torch.stack(expected_z), rtol=1e-5, atol=1e-5)
    found, wanted = (torch.autograd.grad(out.square().sum(), z)[0] for out in (new_z, torch.stack(expected_z)))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new_x, self_attention_block(block, x)[0], rtol=1e-5, atol=1e-5)
    others = x.flip(0)
    torch.testing.assert_close(noisy(others, z, torch.arange(3))[1], new_z, rtol=1e-6, atol=1e-6)
