import pytest
import torch
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import build_model
from timm.models.vision_transformer import VisionTransformer
from timm.utils import AttentionExtract

from dcal_reid.modeling.backbones import ViTBackbone

# Registers and a CLS token without position embeddings; query-key norm and layer scale; 4 x 3 patches.
KINDS = {
    "plain": {},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "normalised": {"qk_norm": True, "init_values": 0.5, "pre_norm": True},
}
TOKENS = {"plain": 13, "registers": 15, "normalised": 13}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def backbone(kind):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=(64, 48), embed_dim=48, depth=3, num_heads=3, num_classes=0, **KINDS[kind])
    for parameter in vit.parameters():  # so that attention is far from uniform
        parameter.data += 0.2 * torch.randn_like(parameter)
    return ViTBackbone(vit).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def timms_attention(vit, images):
    """The mean over heads in each block, as timm extracts it: (B, N, N)."""
    for block in vit.blocks:
        block.attn.fused_attn = False
    maps = AttentionExtract(vit, names=["blocks.*.attn.attn_drop"], method="hook")(images)
    return [weights.mean(dim=1) for weights in maps.values()]


def blocks_of(backbone, images):
    """The tokens before each block, and each block's state."""
    x, before, states = backbone.embed(images), [], []
    for number in range(len(backbone.blocks)):
        before.append(x)
        x, state = backbone.self_block(number, x)
        states.append(state)
    return before, states


def test_it_says_what_the_tokens_are(backbone, kind, images):
    assert backbone.embed(images).shape == (2, TOKENS[kind], backbone.embed_dim)
    rows, columns = backbone.grid_size
    assert (rows, columns) == (4, 3) and backbone.num_prefix + rows * columns == TOKENS[kind]
    assert backbone.num_cls_blocks == len(backbone.blocks) == 3


@torch.no_grad()
def test_rollout_is_row_0_of_the_product_of_timms_attention(backbone, images):
    _, states = blocks_of(backbone, images)
    unit = torch.eye(states[0][1].shape[2])
    product = unit
    for attention in timms_attention(backbone.vit, images):
        product = (0.5 * attention + 0.5 * unit) @ product
    assert product[:, 0].amax() > 2 / len(unit)
    torch.testing.assert_close(backbone.cls_rollout(states), product[:, 0], rtol=0, atol=1e-6)


@torch.no_grad()
def test_weights_are_carried_back_by_the_product_of_timms_attention(backbone, images):
    _, states = blocks_of(backbone, images)
    r = torch.rand(2, states[0][1].shape[2])
    expected = r[:, None]
    for attention in reversed(timms_attention(backbone.vit, images)[:2]):
        expected = expected @ (0.5 * attention + 0.5 * torch.eye(r.shape[1]))
    torch.testing.assert_close(backbone.roll_back(r, states[:2]), expected[:, 0], rtol=0, atol=1e-6)
    assert torch.equal(backbone.roll_back(r, []), r)


@torch.no_grad()
def test_attention_of_some_tokens_is_their_rows_of_timms(backbone, images):
    before, _ = blocks_of(backbone, images)
    for block, x, attention in zip(backbone.blocks, before, timms_attention(backbone.vit, images), strict=True):
        found = backbone.cross_attention(block, x[:, [0, 5, 9]], x)
        torch.testing.assert_close(found, attention[:, [0, 5, 9]], rtol=0, atol=1e-6)
        assert found.dtype == torch.float32


@torch.no_grad()
def test_a_block_for_some_tokens_gives_what_it_gives_for_all(backbone, images):
    before, _ = blocks_of(backbone, images)
    for number, (block, x) in enumerate(zip(backbone.blocks, before, strict=True)):
        whole = block(x)
        cross = backbone.cross_block(block, x[:, [0, 5, 9]], x)
        torch.testing.assert_close(cross, whole[:, [0, 5, 9]], rtol=1e-5, atol=1e-5)
        cls, (q, k) = backbone.self_block(number, x, cls_only=True)
        torch.testing.assert_close(cls, whole[:, :1], rtol=1e-5, atol=1e-5)
        assert (q.shape[2], k.shape[2]) == (1, x.shape[1])


@pytest.mark.parametrize("size", [[64, 32], [96, 96], [32, 160]])
def test_features_equal_timms(tiny_cfg, size):
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = size
    backbone = build_backbone(tiny_cfg).eval()
    images = torch.randn(2, 3, *size)
    tokens = backbone.norm(backbone.blocks(backbone.embed(images)))
    assert torch.equal(tokens, backbone.vit.forward_features(images))
    assert torch.equal(backbone(images)[:, :, 0, 0], tokens[:, 0])


def test_the_final_norm_of_a_model_that_averages_its_patches(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.global_pool = "avg"
    backbone = build_backbone(tiny_cfg).eval()
    images = torch.randn(2, 3, 64, 32)
    cls = backbone.vit.forward_features(images)[:, 0]
    assert isinstance(backbone.vit.norm, torch.nn.Identity) and isinstance(backbone.norm, torch.nn.LayerNorm)
    assert torch.equal(backbone(images)[:, :, 0, 0], backbone.vit.fc_norm(cls))
    model = build_model(tiny_cfg)
    assert isinstance(model.glca.norm, torch.nn.LayerNorm)
    sum(model({"images": images.byte(), "targets": torch.tensor([0, 0])}).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
