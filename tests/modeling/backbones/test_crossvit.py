import pytest
import torch

from dcal_reid.errors import InputError


def build(small, **options):
    kwargs = {"embed_dim": (24, 48), "depth": ((1, 1, 0),), "num_heads": (3, 3)}
    return small("crossvit_tiny_240", kwargs, (240, 240), **{"GLCA__NUM_BLOCKS": 0, "PWCA__NUM_BLOCKS": 0} | options)


def test_baseline_reads_out_both_cls_tokens(small, images_of):
    model = build(small).eval()
    images = model.preprocess_image(images_of(240, 240))
    tokens = model.backbone.vit.forward_features(images)
    expected = torch.cat([branch[:, 0] for branch in tokens], dim=1)
    torch.testing.assert_close(model.branch_features(images)["sa"], expected)
    assert model.backbone.embed_dim == expected.shape[1] == 72


def test_a_step_trains_every_parameter(small, images_of):
    model = build(small)
    losses = model(images_of(240, 240))
    assert set(losses) == {"loss_sa"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_refuses_a_size_that_the_patches_do_not_divide(small):
    with pytest.raises(InputError, match=r"448x448 does not suit 'crossvit_tiny_240', .* to multiples of 240"):
        small("crossvit_tiny_240", {}, (448, 448), GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=0)
    with pytest.raises(InputError, match=r"240x240 does not suit 'crossvit_15_dagger_408', .* to multiples of 408"):
        small("crossvit_15_dagger_408", {}, (240, 240), GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=0)


@pytest.mark.parametrize(("name", "size"), [("crossvit_15_dagger_408", (408, 408)), ("crossvit_tiny_240", (120, 240))])
def test_takes_every_size_that_the_patches_divide(small, name, size):
    kwargs = {"embed_dim": (24, 48), "depth": ((1, 1, 0),), "num_heads": (3, 3)}
    backbone = small(name, kwargs, size, GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=0).backbone.eval()
    images = torch.rand(2, 3, *size)
    torch.testing.assert_close(backbone(images)[:, :, 0, 0], backbone.vit(images))


@pytest.mark.parametrize("branch", ["GLCA", "PWCA"])
def test_branches_of_dcal_are_refused(small, branch):
    with pytest.raises(InputError, match=rf"{branch}\.NUM_BLOCKS is 1, but .* 0 blocks of 'crossvit_tiny_240'"):
        build(small, **{f"{branch}__NUM_BLOCKS": 1})
