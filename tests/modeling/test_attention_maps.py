import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.errors import InputError


def build(cfg, **options):
    for key, value in options.items():
        section, name = key.split("__")
        cfg.MODEL.DCAL[section][name] = value
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for parameter in model.backbone.parameters():  # attention that is far from uniform
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def block_output(block, z, context):
    """DCAL eqs. 1 and 4 for one image, tokens (N, D) and context (M, D): its tokens, and the attention averaged over
    heads, (N, M)."""
    q, _, _ = (block.norm1(z) @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=1)
    _, k, v = (block.norm1(context) @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=1)
    heads = [slice(start, start + 16) for start in (0, 16, 32)]
    weights = [torch.softmax(q[:, head] @ k[:, head].T / 4, dim=1) for head in heads]
    merged = torch.cat([w @ v[:, head] for w, head in zip(weights, heads, strict=True)], dim=1)
    z = z + block.attn.proj(merged)
    return z + block.mlp(block.norm2(z)), torch.stack(weights).mean(dim=0)


def naive(model, images, pair_blocks, stream):
    """The rows of both CLS tokens in the product of the matrices over all tokens: both images' pair-wise streams and
    both self-attention streams, 4 N tokens."""
    x = list(model.backbone.embed(model.preprocess_image(images)))
    n, blocks = len(x[0]), model.backbone.blocks
    z, product = list(x), torch.eye(4 * n)  # Z_0, Z_1, X_0, X_1
    place = [slice(i * n, (i + 1) * n) for i in range(4)]
    for number, block in enumerate(blocks):
        s, new_x, new_z = torch.zeros(4 * n, 4 * n), [], []
        pairwise = number >= len(blocks) - pair_blocks
        for i in (0, 1):
            out, weights = block_output(block, x[i], x[i])
            new_x.append(out)
            s[place[2 + i], place[2 + i]] = weights
            if not pairwise:  # Z is still X
                s[place[i], place[i]] = weights
                new_z.append(out)
                continue
            distractor = (x if stream == "sa" else z)[1 - i]
            out, weights = block_output(block, z[i], torch.cat([z[i], distractor]))
            new_z.append(out)
            s[place[i], place[i]] = weights[:, :n]
            s[place[i], place[(2 if stream == "sa" else 0) + 1 - i]] = weights[:, n:]
        x, z = new_x, new_z
        product = (0.5 * s + 0.5 * torch.eye(4 * n)) @ product
    # (2, 4, N) each: in the last block, and in the product.
    return [torch.stack([rows[0], rows[n]]).unflatten(1, (4, n)) for rows in (s, product)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("pair_blocks", [3, 1])
@torch.no_grad()
def test_pairs_equal_the_product_of_full_matrices(tiny_cfg, tiny_batch, pair_blocks, stream, fused):
    model = build(tiny_cfg, PWCA__NUM_BLOCKS=pair_blocks, PWCA__DISTRACTOR_STREAM=stream)
    for block in model.backbone.blocks:
        block.attn.fused_attn = fused
    images = tiny_batch["images"][:4]
    maps = model.pair_attention_maps(images)
    assert maps.last.shape == maps.rollout.shape == (4, 2, 4, 2)
    others = 2 if stream == "sa" else 0
    for pair in (0, 2):
        for found, rows in zip(maps, naive(model, images[pair : pair + 2], pair_blocks, stream), strict=True):
            torch.testing.assert_close(rows.sum(dim=(1, 2)), torch.ones(2))
            for i in (0, 1):
                own, other = rows[i, i], rows[i, others + 1 - i]
                torch.testing.assert_close(found[pair + i, 0].flatten(), own[1:], rtol=0, atol=1e-6)
                torch.testing.assert_close(found[pair + i, 1].flatten(), other[1:], rtol=0, atol=1e-6)


def test_an_image_and_itself_share_what_self_attention_has(tiny_cfg, tiny_batch):
    """Duplicated keys get half each, so the weights of the image and of its distractor add up to the rollout of SA."""
    model = build(tiny_cfg)
    images = tiny_batch["images"][:1].expand(2, -1, -1, -1)
    maps = model.pair_attention_maps(images).rollout
    torch.testing.assert_close(maps.sum(dim=1), model.attention_maps(images).sa, rtol=0, atol=1e-6)


def test_registers_are_no_patches(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.reg_tokens = 3
    assert build(tiny_cfg).pair_attention_maps(tiny_batch["images"][:2]).last.shape == (2, 2, 4, 2)


def test_what_has_no_pair_wise_attention(tiny_cfg, tiny_batch):
    with pytest.raises(InputError, match="there are 3 images; give pairs"):
        build(tiny_cfg).pair_attention_maps(tiny_batch["images"][:3])
    with pytest.raises(InputError, match=r"no pair-wise block .* MODEL\.DCAL\.PWCA\.NUM_BLOCKS 3"):
        build(tiny_cfg, PWCA__NUM_BLOCKS=0).pair_attention_maps(tiny_batch)


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("swin_tiny_patch4_window7_224", [64, 64], {"depths": [1, 1], "embed_dim": 24, "num_heads": [3, 3]}, "no CLS"),
        (
            "cait_xxs24_224",
            [64, 64],
            {"depth": 2, "embed_dim": 48, "num_heads": 3},
            "only be drawn for ViT backbones, not Cait",
        ),
    ],
)
def test_backbones_that_cannot_be_drawn(tiny_cfg, name, size, options, message):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = name
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS = type(tiny_cfg)(options, new_allowed=True)
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = size
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = 0
    tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 1
    model = build_model(tiny_cfg).eval()
    images = torch.zeros(2, 3, *size, dtype=torch.uint8)
    with pytest.raises(InputError, match=message):
        model.pair_attention_maps(images)
