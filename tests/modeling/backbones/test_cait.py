from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dcal_reid.errors import InputError

SIZE = (64, 48)  # 4 x 3 patches
BLOCKS = 3 + 2


@pytest.fixture
def build(small):
    def make(**options):
        kwargs = {"depth": 3, "embed_dim": 48, "num_heads": 3, "init_values": 0.5}
        return small("cait_xxs24_224", kwargs, SIZE, **{"PWCA__NUM_BLOCKS": BLOCKS} | options)

    return make


@pytest.fixture
def batch(images_of):
    return images_of(*SIZE)


def test_sa_equals_timms_features(build, batch):
    model = build(INFERENCE="sa").eval()
    images = model.preprocess_image(batch)
    expected = model.backbone.vit.forward_features(images)[:, 0]
    torch.testing.assert_close(model.branch_features(images)["sa"], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.backbone(images)[:, :, 0, 0], expected, rtol=1e-5, atol=1e-5)


def test_in_training_timms_model_drops_the_same(small, batch):
    kwargs = {"depth": 1, "embed_dim": 48, "num_heads": 3, "init_values": 0.5, "pos_drop_rate": 0.5}
    model = small("cait_xxs24_224", kwargs, SIZE, PWCA__NUM_BLOCKS=0)
    images = model.preprocess_image(batch)
    torch.manual_seed(1)
    expected = model.backbone.vit.forward_features(images)[:, 0]
    torch.manual_seed(1)
    torch.testing.assert_close(model.backbone(images)[:, :, 0, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", ["attn_drop", "proj_drop"])
def test_dropout_among_pairs_acts_in_training_only(build, layer):
    backbone = build().backbone
    getattr(backbone.blocks[0].attn, layer).p = 0.5
    tokens, partner = torch.randn(16, 12, 48), torch.arange(8).roll(1)
    one, other = (backbone.pair_block(0, tokens, partner, "sa", starts=False)[0] for _ in range(2))
    assert not torch.equal(one, other)
    backbone.eval()
    one, other = (backbone.pair_block(0, tokens, partner, "sa", starts=False)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_threads_may_share_a_model(build, batch):
    """As with ViT, a call does not change the model."""
    model = build().eval()
    images = model.preprocess_image(batch)
    with torch.no_grad():
        expected = [model.branch_features(image[None])["glca"] for image in images]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda image: model.branch_features(image[None])["glca"], [*images] * 8))
    for feature, other in zip(found, expected * 8, strict=True):
        torch.testing.assert_close(feature, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("blocks", [BLOCKS, 4, 2, 1])
def test_distractor_oneself_makes_pwca_equal_sa(build, batch, stream, blocks):
    model = build(PWCA__DISTRACTOR_STREAM=stream, PWCA__NUM_BLOCKS=blocks).eval()
    torch.nn.init.normal_(model.backbone.vit.blocks[0].attn.proj_w.bias)
    features = model.branch_features(model.preprocess_image(batch), torch.arange(8))
    torch.testing.assert_close(features["pwca"], features["sa"], rtol=1e-5, atol=1e-5)


def test_foreign_images_are_distractors_and_nothing_else(build, batch):
    model = build(INFERENCE="sa").eval()
    images = model.preprocess_image(batch)
    outside = model.branch_features(images[:4], torch.arange(4, 8), images[4:])
    inside = model.branch_features(images, torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]))
    for branch in ("sa", "pwca"):
        torch.testing.assert_close(outside[branch], inside[branch][:4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks", [BLOCKS, 1])
def test_a_distractor_changes_pwca_and_nothing_else(build, batch, blocks):
    model = build(PWCA__NUM_BLOCKS=blocks).eval()
    images = model.preprocess_image(batch)
    own, other = (model.branch_features(images, torch.arange(8).roll(shift)) for shift in (0, 1))
    assert not torch.allclose(own["pwca"], other["pwca"], atol=1e-3)
    alone = model.branch_features(images)
    for branch in ("sa", "glca"):
        torch.testing.assert_close(own[branch], other[branch])
        torch.testing.assert_close(own[branch], alone[branch], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stream", ["sa", "pwca"])
def test_pairs_attend_under_one_softmax_over_both_images(build, stream):
    """One talking-heads block of one image, written out."""
    backbone = build().eval().backbone
    x, z = torch.randn(2, 8, 12, 48)
    block, attn = backbone.blocks[0], backbone.blocks[0].attn
    torch.nn.init.normal_(attn.proj_w.bias)
    both, _ = backbone.pair_block(0, torch.cat([x, z]), torch.arange(8).roll(1), stream, starts=False)
    tokens = torch.stack([z[0], (x if stream == "sa" else z)[7]])  # (2, N, D)
    q, k, v = attn.qkv(block.norm1(tokens)).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
    keys, values = (torch.cat([*own], dim=1) for own in (k, v))  # (h, 2N, d)
    logits = torch.einsum("gh,hnm->gnm", attn.proj_l.weight, q[0] @ keys.transpose(1, 2) / 4)
    weights = torch.einsum("gh,hnm->gnm", attn.proj_w.weight, (logits + attn.proj_l.bias[:, None, None]).softmax(2))
    attended = (weights + attn.proj_w.bias[:, None, None] / 2) @ values
    y = z[0] + block.gamma_1 * attn.proj(attended.transpose(0, 1).flatten(1))
    expected = y + block.gamma_2 * block.mlp(block.norm2(y))
    torch.testing.assert_close(both[8], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both[:8], block(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stream", ["sa", "pwca"])
def test_cls_tokens_attend_under_one_softmax_over_both_images(build, stream, fused):
    """One class-attention block of one image, written out."""
    backbone = build().eval().backbone
    block, attn = backbone.blocks[4], backbone.blocks[4].attn
    attn.fused_attn = fused
    x, z = torch.randn(2, 8, 13, 48)
    both, _ = backbone.pair_block(4, torch.cat([x, z]), torch.arange(8).roll(1), stream, starts=False)
    tokens = block.norm1(torch.cat([z[0], (x if stream == "sa" else z)[7]]))  # (2 (1 + N), D)
    q, k, v = (linear(tokens).unflatten(1, (3, 16)).transpose(0, 1) for linear in (attn.q, attn.k, attn.v))
    attended = (q[:, :1] @ k.transpose(1, 2) / 4).softmax(dim=2) @ v  # (h, 1, d)
    y = z[0, :1] + block.gamma_1 * attn.proj(attended.transpose(0, 1).flatten(1))
    expected = torch.cat([y + block.gamma_2 * block.mlp(block.norm2(y)), z[0, 1:]])
    torch.testing.assert_close(both[8], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both[:8, :1], block(x[:, 1:], x[:, :1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 1.0])
def test_glca_starts_equal_to_sa(build, batch, ratio):
    model = build(GLCA__READOUT="cls", GLCA__RATIO=ratio).eval()
    features = model.branch_features(model.preprocess_image(batch))
    torch.testing.assert_close(features["glca"], features["sa"], rtol=1e-5, atol=1e-5)


def test_rollout_is_row_0_of_the_full_product(build, batch):
    """A class-attention block does not change the patches: their rows are those of the identity."""
    model = build().eval()
    backbone = model.backbone
    x, product = backbone.embed(model.preprocess_image(batch)), torch.eye(13).expand(8, 13, 13)
    states = []
    for number, block in enumerate(backbone.blocks):
        if number >= 3:
            u = block.norm1(x)
            q, k = (linear(u).unflatten(2, (3, 16)).transpose(1, 2) for linear in (block.attn.q, block.attn.k))
            s = torch.eye(13).repeat(8, 1, 1)
            s[:, 0] = (q[:, :, :1] @ k.transpose(2, 3) / 4).softmax(dim=3).mean(dim=1)[:, 0]
            product = (0.5 * s + 0.5 * torch.eye(13)) @ product
        x, state = backbone.self_block(number, x)
        states.append(state)
    torch.testing.assert_close(backbone.cls_rollout(states), product[:, 0], rtol=0, atol=1e-6)
    maps = model.attention_maps(batch)
    assert maps.sa.shape == maps.glca.shape == (8, 4, 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"GLCA__NUM_BLOCKS": 2},
        {"GLCA__INPUT": "stacked"},
        {"GLCA__READOUT": "cls"},
        {"GLCA__SELECTION": "penultimate"},
        {"PWCA__DISTRACTORS": "noise"},
    ],
)
def test_a_step_trains_every_parameter(build, batch, options):
    model = build(**options)
    losses = model(batch)
    assert set(losses) == {"loss_sa", "loss_glca", "loss_pwca"}
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_glca_has_room_beside_the_class_attention_blocks_only(build):
    with pytest.raises(InputError, match=r"GLCA\.NUM_BLOCKS is 3, but a CLS token attends in 2 blocks"):
        build(GLCA__NUM_BLOCKS=3)
    with pytest.raises(
        InputError, match=r"SELECTION is 'penultimate', but a CLS token attends only in the last 2 blocks"
    ):
        build(GLCA__NUM_BLOCKS=2, GLCA__SELECTION="penultimate")


def test_sizes_of_whole_patches_only(small):
    with pytest.raises(InputError, match=r"50x32 is not a multiple of the patch size 16x16"):
        small("cait_xxs24_224", {"depth": 1, "embed_dim": 48, "num_heads": 3}, (50, 32))
