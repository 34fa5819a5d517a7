"""Naive DCAL and ours are the same function of the same weights: each is the other's reference."""

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.benchmark.naive import NaiveDCAL
from dcal_reid.errors import InputError


def build(cfg, **changes):
    """Random weights that are large enough for attention to be far from uniform."""
    dcal = cfg.MODEL.DCAL
    dcal.GLCA.READOUT = changes.get("readout", "mean")
    dcal.PWCA.NUM_BLOCKS = changes.get("pwca_blocks", 3)
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attn.qkv" in name:
                parameter.mul_(8)
    return model


def losses_and_gradients(model, batch):
    model.train().zero_grad()
    torch.manual_seed(7)  # so that both draw the same distractors
    losses = model(batch)
    sum(losses.values()).backward()
    gradients = {id(p): p.grad.clone() for p in model.parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("stream", ["sa", "pwca"])
@pytest.mark.parametrize("readout", ["cls", "mean", "cls+local"])
@pytest.mark.parametrize("pwca_blocks", [3, 1, 0])
def test_losses_and_gradients(tiny_cfg, tiny_batch, readout, pwca_blocks, stream):
    tiny_cfg.MODEL.DCAL.PWCA.DISTRACTOR_STREAM = stream
    ours = build(tiny_cfg, readout=readout, pwca_blocks=pwca_blocks)
    losses, gradients = losses_and_gradients(ours, tiny_batch)
    naive_losses, naive_gradients = losses_and_gradients(NaiveDCAL(ours), tiny_batch)
    assert losses == pytest.approx(naive_losses, abs=1e-4)
    assert ("loss_pwca" in losses) == bool(pwca_blocks)
    assert gradients.keys() == naive_gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, naive_gradients[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("head", ["DCALHead", "DCALClassificationHead"])
@pytest.mark.parametrize("readout", ["cls", "mean"])
def test_features(tiny_cfg, tiny_batch, head, readout):
    tiny_cfg.MODEL.HEADS.NAME = head
    ours = build(tiny_cfg, readout=readout).eval()
    naive = NaiveDCAL(ours).eval()
    with torch.no_grad():
        features = ours(tiny_batch["images"])
        torch.testing.assert_close(naive(tiny_batch["images"]), features, rtol=0, atol=1e-4)
    assert features.std() > 1e-3


def test_baseline_has_one_branch(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    ours = build_model(tiny_cfg)
    assert NaiveDCAL(ours).train()(tiny_batch).keys() == {"loss_sa"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("GLCA.NUM_BLOCKS", 2), ("GLCA.INPUT", "stacked"), ("PWCA.DISTRACTORS", "noise")],
)
def test_what_it_does_not_do_is_refused(tiny_cfg, key, value):
    tiny_cfg.merge_from_list([f"MODEL.DCAL.{key}", value])
    with pytest.raises(InputError, match=key.split(".")[1]):
        NaiveDCAL(build_model(tiny_cfg))
