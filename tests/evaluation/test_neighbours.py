import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.evaluation import neighbours
from dcal_reid.evaluation.neighbours import find_neighbours
from dcal_reid.evaluation.products import Prepared, squared_distances
from dcal_reid.evaluation.scaled import ScaledFeatures


@st.composite
def items(draw):
    """Features with copies and near copies."""
    count, dim = draw(st.integers(1, 80)), draw(st.sampled_from([1, 3, 24]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = rng.standard_normal((draw(st.integers(1, count)), dim)) + draw(st.sampled_from([0, 20]))
    pool = pool.astype(np.float32)
    pool = np.concatenate([pool, np.nextafter(pool, np.float32(np.inf))])
    features = pool[rng.integers(0, len(pool), count)]
    return ScaledFeatures(features, draw(st.sampled_from(["cosine", "euclidean"])))


def exact(items):
    features = items[slice(None)]
    return ((features[:, None] - features[None]) ** 2).sum(-1)


def check(items, sizes, found):
    distances = exact(items)
    nearest = np.argsort(distances, axis=1, kind="stable")
    for size in sizes:
        size = min(size, len(distances))
        assert np.array_equal(np.sort(found.index[:, :size], axis=1), np.sort(nearest[:, :size], axis=1))
    assert found.index.shape == (len(distances), min(max(sizes), len(distances)))
    np.testing.assert_allclose(found.farthest, distances.max(axis=1), rtol=1e-12)


@given(items(), st.integers(1, 90), st.lists(st.integers(1, 30), min_size=1, max_size=3))
@settings(max_examples=200)
def test_equals_a_stable_sort_of_all_distances(items, block, sizes):
    check(items, sizes, find_neighbours(items, sizes, block=block))


@given(items(), st.integers(1, 90))
@settings(max_examples=50)
def test_the_way_of_the_gpu_finds_the_same(items, block):
    """The GPU code, run on CPU tensors."""

    def on_tensors(self, centre, device):
        prepared = Prepared(self.features, self.scale, centre, device)
        prepared.right = torch.from_numpy(prepared.right)
        return prepared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScaledFeatures, "prepared", on_tensors)
        check(items, (3, 7), find_neighbours(items, (3, 7), block=block))


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from([0, 1, 6]))
@settings(max_examples=60)
def test_products_may_be_as_wrong_as_their_bound_says(count, seed, block, bound):
    rng = np.random.default_rng(seed)
    items = ScaledFeatures(rng.integers(0, 4, (count, 3)), "euclidean")

    def off_by_bound(left, right, *_):
        exact = np.rint(squared_distances(left, right))
        return (exact + bound * rng.choice([-1, 1], exact.shape)).astype(np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "squared_distances", off_by_bound)
        patch.setattr(neighbours, "error_bound", lambda left, right: np.full(len(left), float(bound)))
        check(items, (3, 7), find_neighbours(items, (3, 7), block=block))


def test_many_items_of_which_many_others_are_equally_far():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.standard_normal((100, 3)), np.full((10, 3), 50.0)]).astype(np.float32)
    items = ScaledFeatures(features[rng.permutation(110)], "euclidean")
    check(items, (3,), find_neighbours(items, (3,)))


def test_the_farthest_of_more_items_than_are_looked_at_together():
    features = np.random.default_rng(0).standard_normal((5000, 3))
    rows = np.arange(0, 5000, 100)
    farthest = neighbours._farthest_in_double_precision(ScaledFeatures(features, "euclidean"), rows)
    assert np.array_equal(farthest, ((features[rows, None] - features) ** 2).sum(-1).argmax(axis=1))


def test_realistic_size_and_any_block():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 256))[rng.integers(0, 40, 500)] + rng.standard_normal((500, 256))
    items = ScaledFeatures(features.astype(np.float32))
    for block in (60, 300, 2048):
        check(items, (6, 11, 21), find_neighbours(items, (6, 11, 21), block=block))


def test_each_product_is_computed_once(monkeypatch):
    products = []
    compute = neighbours.squared_distances
    monkeypatch.setattr(
        neighbours, "squared_distances", lambda a, b, *rest: products.append(len(a) * len(b)) or compute(a, b, *rest)
    )
    features = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    find_neighbours(ScaledFeatures(features), (5,), block=100)
    assert sum(products) == 1000 * 1100 / 2
