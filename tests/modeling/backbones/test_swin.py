import pytest
import torch

from dcal_reid.errors import InputError

KWARGS = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
# 16 x 8 tokens, then 8 x 4; and sizes that the windows do not divide: 18 x 10, then 9 x 5.
SIZES = [(64, 32), (72, 40)]


@pytest.fixture(params=SIZES, ids=["windows fit", "padded"])
def size(request):
    return request.param


@pytest.fixture
def build(small, size):
    def make(**options):
        defaults = {"GLCA__NUM_BLOCKS": 0, "PWCA__NUM_BLOCKS": 4}
        return small("swin_tiny_patch4_window7_224", KWARGS, size, **defaults | options)

    return make


@pytest.fixture
def batch(images_of, size):
    return images_of(*size)


def test_sa_equals_timms_features(build, batch):
    model = build().eval()
    images = model.preprocess_image(batch)
    expected = model.backbone.vit.forward_head(model.backbone.vit.forward_features(images), pre_logits=True)
    torch.testing.assert_close(model.branch_features(images)["sa"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("blocks", [4, 3, 1])
def test_distractor_oneself_makes_pwca_equal_sa(build, batch, stream, blocks, fused):
    model = build(PWCA__DISTRACTOR_STREAM=stream, PWCA__NUM_BLOCKS=blocks).eval()
    for block in model.backbone.blocks:
        block.attn.fused_attn = fused
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    features = model.branch_features(model.preprocess_image(batch), torch.arange(8))
    torch.testing.assert_close(features["pwca"], features["sa"], rtol=1e-4, atol=1e-5)


def test_foreign_images_are_distractors_and_nothing_else(build, batch):
    model = build(INFERENCE="sa").eval()
    images = model.preprocess_image(batch)
    outside = model.branch_features(images[:4], torch.arange(4, 8), images[4:])
    inside = model.branch_features(images, torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]))
    for branch in ("sa", "pwca"):
        torch.testing.assert_close(outside[branch], inside[branch][:4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_a_distractor_changes_pwca_and_nothing_else(build, batch, fused):
    model = build().eval()
    for block in model.backbone.blocks:
        block.attn.fused_attn = fused
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    images = model.preprocess_image(batch)
    own, other = (model.branch_features(images, torch.arange(8).roll(shift)) for shift in (0, 1))
    assert not torch.allclose(own["pwca"], other["pwca"], atol=1e-3)
    torch.testing.assert_close(own["sa"], other["sa"])
    torch.testing.assert_close(own["sa"], model.branch_features(images)["sa"], rtol=1e-4, atol=1e-5)


def test_a_window_attends_to_the_distractors_window_at_the_same_place(small, images_of):
    """In a first block, without shift, a change in the distractor's upper left window reaches only that window."""
    model = small("swin_tiny_patch4_window7_224", KWARGS, (64, 32), GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=4).eval()
    backbone = model.backbone
    x = backbone.embed(model.preprocess_image(images_of(64, 32)))  # (8, 16, 8, 24), windows of 4 x 4
    changed = x.clone()
    changed[1, :4, :4] += torch.randn(4, 4, 24)
    partner = torch.tensor([1, 2, 3, 4, 5, 6, 7, 0])
    before, after = (backbone.pair_block(0, tokens, partner, "sa", starts=True)[0][8] for tokens in (x, changed))
    differs = (before - after).abs().sum(dim=2) > 1e-6
    assert differs[:4, :4].all() and differs.sum() == 16


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stream", ["sa", "pwca"])
def test_windows_attend_under_one_softmax_over_both_images(small, stream, fused):
    """The upper left window of one image in a first block, written out."""
    model = small("swin_tiny_patch4_window7_224", KWARGS, (64, 32), GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=4).eval()
    block, attn = model.backbone.blocks[0], model.backbone.blocks[0].attn
    attn.fused_attn = fused
    torch.nn.init.normal_(attn.relative_position_bias_table)
    x, z = torch.randn(2, 8, 16, 8, 24)
    both, _ = model.backbone.pair_block(0, torch.cat([x, z]), torch.arange(8).roll(1), stream, starts=False)
    window, other = (tokens[:4, :4].flatten(0, 1) for tokens in (z[0], (x if stream == "sa" else z)[7]))
    tokens = block.norm1(torch.cat([window, other]))
    q, k, v = attn.qkv(tokens).unflatten(1, (3, 2, 12)).permute(1, 2, 0, 3)  # (h, 2N, d)
    bias = attn.relative_position_bias_table[attn.relative_position_index.flatten()].T.unflatten(1, (16, 16))
    weights = (q[:, :16] @ k.transpose(1, 2) / 12**0.5 + torch.cat([bias, bias], dim=2)).softmax(dim=2)
    y = window + attn.proj((weights @ v).transpose(0, 1).flatten(1))
    expected = y + block.mlp(block.norm2(y))
    torch.testing.assert_close(both[8, :4, :4].flatten(0, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", ["attn_drop", "proj_drop"])
@pytest.mark.parametrize("fused", [True, False])
def test_dropout_among_pairs_acts_in_training_only(small, layer, fused):
    model = small("swin_tiny_patch4_window7_224", KWARGS, (64, 32), GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=4)
    attn = model.backbone.blocks[0].attn
    attn.fused_attn, getattr(attn, layer).p = fused, 0.5
    tokens, partner = torch.randn(16, 16, 8, 24), torch.arange(8).roll(1)
    one, other = (model.backbone.pair_block(0, tokens, partner, "sa", starts=False)[0] for _ in range(2))
    assert not torch.equal(one, other)
    model.eval()
    one, other = (model.backbone.pair_block(0, tokens, partner, "sa", starts=False)[0] for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("distractors", ["batch", "noise"])
def test_a_step_trains_every_parameter(build, batch, distractors):
    model = build(PWCA__DISTRACTORS=distractors)
    losses = model(batch)
    assert set(losses) == {"loss_sa", "loss_pwca"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_glca_and_pictures_of_attention_are_refused(build, batch):
    with pytest.raises(InputError, match=r"GLCA\.NUM_BLOCKS is 1, but a CLS token attends in 0 blocks of 'swin_tiny"):
        build(GLCA__NUM_BLOCKS=1)
    with pytest.raises(InputError, match="SwinTransformer has no CLS token"):
        build().attention_maps(batch)
