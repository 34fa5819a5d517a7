import math

import pytest
import torch
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss

from dcal_reid.modeling.losses import BranchLoss, LossWeights


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(4).repeat_interleave(2)
    return torch.randn(8, 5, generator=generator), torch.randn(8, 16, generator=generator), targets


def naive_triplet(features, targets, margin):
    """Hardest positive and hardest negative of each image, in a loop."""
    terms = []
    for i in range(len(features)):
        d = [(features[i] - other).norm() for other in features]
        positive = max(d[j] for j in range(len(d)) if targets[j] == targets[i])
        negative = min(d[j] for j in range(len(d)) if targets[j] != targets[i])
        gap = positive - negative
        terms.append((gap + margin).clamp(min=0) if margin > 0 else torch.log1p(gap.exp()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("margin", [0.3, 0.0])
def test_triplet_equals_the_naive_loop(tiny_cfg, outputs, margin):
    tiny_cfg.MODEL.LOSSES.TRI.MARGIN = margin
    logits, features, targets = outputs
    actual = BranchLoss(tiny_cfg)(logits, features, targets)["triplet"]
    torch.testing.assert_close(actual, naive_triplet(features, targets, margin), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("margin", [0.3, 0.0])
@pytest.mark.parametrize(("normalised", "hard"), [(False, True), (True, True), (True, False)])
def test_triplet_equals_fastreids(tiny_cfg, outputs, margin, normalised, hard):
    tiny_cfg.merge_from_list(
        [
            *("MODEL.LOSSES.TRI.MARGIN", margin),
            *("MODEL.LOSSES.TRI.NORM_FEAT", normalised),
            *("MODEL.LOSSES.TRI.HARD_MINING", hard),
        ]
    )
    logits, features, targets = outputs
    actual = BranchLoss(tiny_cfg)(logits, features, targets)["triplet"]
    torch.testing.assert_close(actual, triplet_loss(features, targets, margin, normalised, hard))


def test_a_soft_margin_does_not_overflow(tiny_cfg):
    """fast-reid's becomes infinite, and it checks for this in every step."""
    tiny_cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    features = torch.tensor([[0.0], [1000.0], [0.0], [1000.0]], requires_grad=True)
    loss = BranchLoss(tiny_cfg)(torch.randn(4, 2), features, torch.tensor([0, 0, 1, 1]))["triplet"]
    assert loss.item() == pytest.approx(1000)
    loss.backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_cross_entropy_equals_fastreids(tiny_cfg, outputs, epsilon):
    tiny_cfg.MODEL.LOSSES.CE.EPSILON = epsilon
    logits, features, targets = outputs
    actual = BranchLoss(tiny_cfg)(logits, features, targets)["ce"]
    torch.testing.assert_close(actual, cross_entropy_loss(logits, targets, epsilon))


def test_one_class_alone_costs_nothing(tiny_cfg, outputs):
    tiny_cfg.MODEL.LOSSES.CE.EPSILON = 0.1
    _, features, targets = outputs
    assert BranchLoss(tiny_cfg)(torch.randn(8, 1), features, torch.zeros_like(targets))["ce"] == 0


def test_scales_and_names(tiny_cfg, outputs):
    logits, features, targets = outputs
    plain = BranchLoss(tiny_cfg)(logits, features, targets)
    tiny_cfg.MODEL.LOSSES.CE.SCALE, tiny_cfg.MODEL.LOSSES.TRI.SCALE = 2.0, 3.0
    scaled = BranchLoss(tiny_cfg)(logits, features, targets)
    torch.testing.assert_close(scaled["ce"], 2 * plain["ce"])
    torch.testing.assert_close(scaled["triplet"], 3 * plain["triplet"])
    tiny_cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    assert list(BranchLoss(tiny_cfg)(logits, features, targets)) == ["ce"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_distances_are_fp32_under_autocast(tiny_cfg, dtype):
    """At the features' norm of a ViT (28) a distance in half precision is off by more than the margin of 0.3."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(1, 192, generator=generator))
    features = 28 * direction + 0.05 * torch.randn(8, 192, generator=generator)
    targets = torch.arange(4).repeat_interleave(2)
    expected = naive_triplet(features.double(), targets, 0.3)
    with torch.autocast("cpu", dtype=dtype):
        actual = BranchLoss(tiny_cfg)(torch.zeros(8, 5), features, targets)["triplet"]
    assert actual.dtype == torch.float32
    assert abs(actual - expected) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_terms_of_half_precision_are_computed_in_fp32(tiny_cfg, outputs, dtype):
    logits, features, targets = outputs
    found, expected = (
        BranchLoss(tiny_cfg)(*inputs, targets)
        for inputs in ((logits.to(dtype), features.to(dtype)), (logits.to(dtype).float(), features.to(dtype).float()))
    )
    assert found.keys() == {"ce", "triplet"}
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_learned_weights_are_the_uncertainty_formula():
    weights = LossWeights("learned", {"sa": 0.0, "glca": 0.5, "pwca": -1.0})
    losses = {"pwca": torch.tensor(4.0), "sa": torch.tensor(2.0), "glca": torch.tensor(3.0)}
    total = sum(weights(losses).values())
    expected = 0.5 * (2 + 3 * math.exp(-0.5) + 4 * math.exp(1) + 0 + 0.5 - 1)
    assert total.item() == pytest.approx(expected)
    total.backward()
    gradient = [0.5 * (1 - 2), 0.5 * (1 - 3 * math.exp(-0.5)), 0.5 * (1 - 4 * math.exp(1))]
    assert weights.w.grad.tolist() == pytest.approx(gradient)


def test_fixed_weights_are_nothing_to_learn_or_to_keep():
    weights = LossWeights("fixed", {"sa": 0.0, "glca": math.log(2)})
    assert not weights.state_dict()
    total = sum(weights({"sa": torch.tensor(2.0), "glca": torch.tensor(3.0)}).values())
    assert float(total) == pytest.approx(2 + 3 / 2)


def test_initial_weights_may_be_whole_numbers():
    assert LossWeights("learned", {"sa": 1, "glca": 0}).w.tolist() == [1.0, 0.0]
