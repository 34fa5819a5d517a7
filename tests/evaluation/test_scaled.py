import math

import numpy as np
import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.evaluation.distances import FeatureDistances
from dcal_reid.evaluation.scaled import ScaledFeatures, check_metric, pair_distances


def features(seed, count, dim):
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize(
    "kind",
    [
        np.float64,
        np.float32,
        np.float16,
        np.int64,
        lambda values: torch.tensor(values, requires_grad=True),
        lambda values: torch.tensor(values).bfloat16(),
        lambda values: torch.tensor(values).double(),
    ],
)
@pytest.mark.parametrize("rows", [slice(None), slice(3, 60, 7), np.array([5, 0, 5]), np.array([], dtype=int)])
def test_rows_have_the_scale_of_the_metric(kind, rows):
    """For more rows than are processed together."""
    given = kind(10 * features(0, 70, 6))
    expected = (given.detach().double().numpy() if isinstance(given, torch.Tensor) else given.astype(float))[rows]
    euclidean, cosine = (ScaledFeatures(given, metric)[rows] for metric in ("euclidean", "cosine"))
    assert euclidean.dtype == cosine.dtype == np.float64
    assert np.array_equal(euclidean, expected)
    np.testing.assert_allclose(cosine, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-14)


@pytest.mark.parametrize("dim", [1, 33, 2**15 + 1])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_of_pairs_are_those_of_exact_sums(metric, dim):
    """For more pairs than are processed together, and features too long for more than one pair at a time."""
    a, b = ScaledFeatures(features(0, 5, dim), metric), ScaledFeatures(features(1, 4, dim), metric)
    i, j = np.divmod(np.arange(20), 4)
    i, j = (np.tile(index, 1 if dim > 33 else 200) for index in (i, j))
    rows = a[slice(None)].tolist(), b[slice(None)].tolist()
    exact = [[math.fsum((x - y) ** 2 for x, y in zip(u, v, strict=True)) for v in rows[1]] for u in rows[0]]
    np.testing.assert_allclose(pair_distances(a, i, b, j), np.array(exact)[i, j], rtol=1e-13)
    assert pair_distances(a, i[:0], b, j[:0]).shape == (0,)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
@pytest.mark.parametrize(("metric", "distance"), [("cosine", 0.25e-18), ("euclidean", 1e-18)])
def test_features_that_only_double_precision_tells_apart(kind, metric, distance):
    items = ScaledFeatures(kind(np.array([[1, 1 + 1e-9], [1, 1]])), metric)
    found = pair_distances(items, np.array([0, 1]), items, np.array([1, 1]))
    np.testing.assert_allclose(found, [distance, 0], rtol=1e-5)
    assert items.first_copy.tolist() == [0, 1]


def test_a_feature_of_zeros_is_allowed_under_cosine():
    distances = FeatureDistances(np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32), "cosine")
    assert distances.between(np.zeros(4, int), np.arange(4)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_first_copy_of_each_feature(order):
    drawn = np.random.default_rng(0).integers(0, 40, 300)
    given = np.asarray(features(0, 40, 3)[drawn], order=order)
    given.flags.writeable = False
    assert ScaledFeatures(given).first_copy.tolist() == [drawn.tolist().index(one) for one in drawn]


def test_features_are_not_copied():
    single, double = features(0, 4, 3), features(0, 4, 3).astype(np.float64)
    for given in (single, double, torch.from_numpy(single), torch.from_numpy(double)):
        assert np.shares_memory(ScaledFeatures(given).features, np.asarray(given))


def test_the_centre_of_many_is_near_their_mean():
    given = np.concatenate([features(0, 3000, 4), 7 + features(1, 3000, 4)])
    assert np.abs(ScaledFeatures(given, "euclidean").centre() - given.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize(("given", "metric", "message"), [
    (np.ones((3, 2)), "jaccard", "unknown metric 'jaccard'; use one of cosine, euclidean"),
    (np.ones(4), "cosine", r"probe features must be a matrix, items x dimension, not of shape \(4,\)"),
    (np.ones((3, 0)), "cosine", r"not of shape \(3, 0\)"),
    (torch.tensor([[1.0], [np.nan], [1], [-np.inf]]), "cosine", r"2 of 4 probe features are NaN .* at \[1, 3\]"),
    (np.full((40, 2), np.nan), "euclidean", r"40 of 40 .* the first at \[0, 1, 2\]"),
    (np.full((1, 1), np.float32(1.2e18)), "euclidean", r"probe features are as long as 1\.2e\+18, too large"),
])  # fmt: skip
def test_what_is_refused(given, metric, message):
    with pytest.raises(InputError, match=message):
        ScaledFeatures(given, metric, "probe")


def test_a_metric_is_checked_before_any_features_are_there():
    check_metric("euclidean")
    with pytest.raises(InputError, match="unknown metric 'Cosine'"):
        check_metric("Cosine")
