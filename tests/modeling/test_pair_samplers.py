import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.modeling.pair_samplers import PAIR_SAMPLER_REGISTRY, balanced, inter, intra, random

pk_batches = st.builds(lambda p, k: torch.arange(p).repeat_interleave(k), st.integers(2, 6), st.integers(2, 5))


@settings(max_examples=50)
@given(targets=pk_batches, name=st.sampled_from(["random", "inter", "intra", "balanced"]), seed=st.integers(0, 99))
def test_nobody_is_their_own_distractor(targets, name, seed):
    torch.manual_seed(seed)
    partner = PAIR_SAMPLER_REGISTRY.get(name)(targets)
    assert partner.shape == targets.shape
    assert ((partner >= 0) & (partner < len(targets))).all()
    assert (partner != torch.arange(len(targets))).all()


@settings(max_examples=25)
@given(size=st.integers(2, 40), seed=st.integers(0, 99))
def test_random_gives_every_image_away_once_to_another(size, seed):
    torch.manual_seed(seed)
    partner = random(torch.zeros(size))
    assert partner.sort().values.tolist() == list(range(size))
    assert (partner != torch.arange(size)).all()


def test_random_reaches_every_other_image_equally():
    torch.manual_seed(0)
    counts = torch.zeros(6, 6)
    for _ in range(3000):
        counts[torch.arange(6), random(torch.zeros(6))] += 1
    off_diagonal = counts[~torch.eye(6, dtype=torch.bool)]
    assert (off_diagonal / 3000 - 1 / 5).abs().max() < 0.03


def test_random_in_a_pk_batch_is_mostly_another_identity():
    """A roll by one would pair 3 of 4 images with their own identity."""
    torch.manual_seed(0)
    targets = torch.arange(16).repeat_interleave(4)
    same = torch.stack([targets[random(targets)] == targets for _ in range(200)]).float().mean()
    assert abs(same - 3 / 63) < 0.01


@given(targets=pk_batches, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_inter_and_intra(targets, seed):
    torch.manual_seed(seed)
    assert (targets[inter(targets)] != targets).all()
    assert (targets[intra(targets)] == targets).all()


@pytest.mark.parametrize(("sampler", "same"), [(inter, False), (intra, True)])
def test_inter_and_intra_reach_every_image_that_they_may_equally(sampler, same):
    torch.manual_seed(0)
    targets = torch.arange(3).repeat_interleave(3)
    counts = torch.zeros(9, 9)
    for _ in range(1000):
        counts[torch.arange(9), sampler(targets)] += 1
    allowed = ((targets[:, None] == targets) == same) & ~torch.eye(9, dtype=torch.bool)
    assert (counts[allowed] / 1000 - (1 / 2 if same else 1 / 6)).abs().max() < 0.06


def test_balanced_is_half_and_half():
    torch.manual_seed(0)
    targets = torch.arange(16).repeat_interleave(4)
    same = torch.stack([targets[balanced(targets)] == targets for _ in range(200)]).float().mean()
    assert abs(same - 0.5) < 0.02


def test_follows_the_global_generator():
    targets = torch.arange(8).repeat_interleave(2)
    for sampler in (random, inter, intra, balanced):
        torch.manual_seed(3)
        first = sampler(targets)
        torch.manual_seed(3)
        assert torch.equal(first, sampler(targets))


@pytest.mark.parametrize(
    ("sampler", "targets", "reason"),
    [(random, [1], "at least 2"), (inter, [5, 5], "other identity"), (intra, [1, 1, 2], "image 2 has no second")],
)
def test_says_what_the_batch_lacks(sampler, targets, reason):
    with pytest.raises(InputError, match=reason):
        sampler(torch.tensor(targets))
