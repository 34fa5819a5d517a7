"""Batches: fast-reid's P x K, without its endless loops and its global generator. Audit, section 2, rows 18 and 19."""

import itertools
from collections import Counter

import fastreid.data.samplers as fastreid_samplers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.data.samplers import (
    SAMPLERS,
    BalancedIdentitySampler,
    NaiveIdentitySampler,
    RankBatches,
    TrainingSampler,
    build_sampler,
)
from dcal_reid.errors import InputError

IDENTITY_SAMPLERS = [NaiveIdentitySampler, BalancedIdentitySampler]


@st.composite
def problems(draw):
    """(pids, camids, batch size, K, seed, world size) that a sampler must accept."""
    k = draw(st.integers(1, 5))
    per_rank = draw(st.integers(1, 4))
    world = draw(st.integers(1, 3))
    num_pids = per_rank * world
    counts = draw(st.lists(st.integers(1, 9), min_size=num_pids, max_size=num_pids + 6))
    pids = np.repeat(np.arange(len(counts)), counts)
    camids = np.array(draw(st.lists(st.integers(0, 3), min_size=len(pids), max_size=len(pids))))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(pids))
    return pids[order], camids[order], num_pids * k, k, draw(st.integers(0, 2**31)), world


def take(sampler, number):
    return list(itertools.islice(sampler, number))


@pytest.mark.parametrize("sampler", IDENTITY_SAMPLERS)
@given(problem=problems())
@settings(max_examples=60)
def test_batches_hold_p_identities_with_k_images_each(sampler, problem):
    pids, camids, batch_size, k, seed, _ = problem
    for batch in take(sampler(pids, camids, batch_size, k, seed), 12):
        assert len(batch) == batch_size
        groups = pids[batch].reshape(-1, k)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == len(groups)


@given(problem=problems())
@settings(max_examples=60)
def test_naive_draws_with_replacement_only_where_an_identity_has_too_few(problem):
    pids, camids, batch_size, k, seed, _ = problem
    counts = Counter(pids)
    for batch in take(NaiveIdentitySampler(pids, camids, batch_size, k, seed), 12):
        for group in np.array(batch).reshape(-1, k):
            assert len(set(group)) == k or counts[pids[group[0]]] < k


@given(problem=problems())
@settings(max_examples=60)
def test_balanced_prefers_other_cameras(problem):
    pids, camids, batch_size, k, seed, _ = problem
    for batch in take(BalancedIdentitySampler(pids, camids, batch_size, k, seed), 12):
        for first, *rest in np.array(batch).reshape(-1, k):
            mine = np.flatnonzero(pids == pids[first])
            elsewhere = mine[camids[mine] != camids[first]]
            if len(elsewhere):
                assert set(rest) <= set(elsewhere)
                assert len(set(rest)) == k - 1 or len(elsewhere) < k - 1
            elif len(mine) > 1:
                assert first not in rest
                assert len(set(rest)) == k - 1 or len(mine) < k


@given(problem=problems())
@settings(max_examples=40)
def test_training_sampler_goes_through_everything_before_it_repeats(problem):
    pids, camids, batch_size, k, seed, _ = problem
    stream = list(itertools.chain(*take(TrainingSampler(pids, camids, batch_size, k, seed), 3 * len(pids))))
    for epoch in range(3):
        assert sorted(stream[epoch * len(pids) : (epoch + 1) * len(pids)]) == list(range(len(pids)))


def test_naive_epoch_uses_no_image_twice_and_balanced_epoch_no_identity_twice():
    pids = np.repeat(np.arange(12), 8)
    camids = np.tile(np.arange(4), 24)
    # 12 identities x 8 images / 16 = 6 batches, of which one may be lost at the end of an epoch
    images = list(itertools.chain(*take(NaiveIdentitySampler(pids, camids, 16, 4, 0), 5)))
    assert len(set(images)) == len(images)
    identities = [pids[i] for i in itertools.chain(*take(BalancedIdentitySampler(pids, camids, 16, 4, 0), 3))]
    assert set(Counter(identities).values()) == {4}


@pytest.mark.parametrize("name", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
def test_images_are_drawn_as_often_as_by_fastreid(name):
    """Over many batches the share of every image is the same as with fast-reid's own sampler, within sampling noise."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 12, 10)
    pids = np.repeat(np.arange(10), counts)
    camids = rng.integers(0, 3, len(pids))
    items = [("", pid, camid) for pid, camid in zip(pids.tolist(), camids.tolist(), strict=True)]
    state = np.random.get_state()
    theirs = getattr(fastreid_samplers, name)(items, 16, 4, seed=1)
    drawn = Counter(int(i) for i in itertools.islice(theirs, 16 * 3000))
    np.random.set_state(state)
    mine = Counter(itertools.chain(*take(SAMPLERS[name](pids, camids, 16, 4, 1), 3000)))
    assert max(abs(drawn[i] - mine[i]) / 48000 for i in range(len(pids))) < 0.01


@pytest.mark.parametrize("sampler", SAMPLERS.values())
@given(problem=problems(), start=st.integers(0, 9))
@settings(max_examples=30)
def test_any_start_and_any_number_of_processes_give_the_same_batches(sampler, problem, start):
    pids, camids, batch_size, k, seed, world = problem
    whole = take(RankBatches(sampler(pids, camids, batch_size, k, seed), 0, 1), start + 4)[start:]
    parts = [RankBatches(sampler(pids, camids, batch_size, k, seed), rank, world) for rank in range(world)]
    for part in parts:
        part.start = start
    shares_of_batches = zip(*(take(part, 4) for part in parts), strict=True)
    assert [list(itertools.chain(*shares)) for shares in shares_of_batches] == whole


def test_every_image_has_its_own_augmentation_seed():
    sampler = TrainingSampler(np.zeros(20), np.zeros(20), 8, 1, 0)
    seeds = [seed for batch in take(RankBatches(sampler, 0, 1), 50) for _, seed in batch]
    assert len(set(seeds)) == len(seeds)


def test_the_global_generator_is_neither_used_nor_changed():
    """Audit, row 19: fast-reid's samplers seed and use numpy's global generator."""
    pids, camids = np.repeat(np.arange(8), 4), np.tile(np.arange(2), 16)
    for sampler in SAMPLERS.values():
        np.random.seed(0)
        before = np.random.get_state()[1].copy()
        first = take(sampler(pids, camids, 8, 2, 7), 9)
        assert np.array_equal(np.random.get_state()[1], before)
        np.random.seed(1)
        assert take(sampler(pids, camids, 8, 2, 7), 9) == first
        assert take(sampler(pids, camids, 8, 2, 8), 9) != first


@pytest.mark.parametrize("name", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
@pytest.mark.parametrize(
    ("batch", "k", "message"),
    [
        (10, 4, "not a multiple of DATALOADER.NUM_INSTANCE 4"),
        (24, 4, "makes 6 identities in a batch, but the training set has 5"),
        (8, 0, "NUM_INSTANCE is 0"),
        (0, 4, "IMS_PER_BATCH is 0"),
    ],
)
def test_what_makes_fastreid_loop_for_ever_is_an_error(cfg, name, batch, k, message):
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE = name, batch, k
    with pytest.raises(InputError, match=message):
        build_sampler(cfg, np.repeat(np.arange(5), 4), np.zeros(20))


def test_a_batch_that_would_part_an_identity_is_refused():
    sampler = NaiveIdentitySampler(np.repeat(np.arange(8), 4), np.zeros(32), 16, 4, 0)
    with pytest.raises(InputError, match="not a multiple of 3 processes x 4 images of one identity"):
        RankBatches(sampler, 0, 3)
    RankBatches(TrainingSampler(np.zeros(32), np.zeros(32), 15, 4, 0), 0, 3)


@pytest.mark.parametrize("name", ["SetReWeightSampler", "ImbalancedDatasetSampler", "naive"])
def test_other_samplers_are_refused_by_name(cfg, name):
    cfg.DATALOADER.SAMPLER_TRAIN = name
    with pytest.raises(InputError, match=f"'{name}'; choose one of TrainingSampler, NaiveIdentitySampler"):
        build_sampler(cfg, np.zeros(4), np.zeros(4))


def test_a_seed_that_nobody_chose_is_refused(cfg):
    cfg.SEED = -1
    with pytest.raises(InputError, match="SEED is -1"):
        build_sampler(cfg, np.repeat(np.arange(8), 4), np.zeros(32))
