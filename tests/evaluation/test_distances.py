import numpy as np
import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.evaluation.distances import FeatureDistances, MatrixDistances


def exact(query, gallery, metric):
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if metric == "cosine":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    return ((query[:, None] - gallery[None]) ** 2).sum(-1)


def features(seed, count, dim, kind):
    values = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    if kind == "positive":
        return np.abs(values)
    if kind == "alike":
        return 100 + values / 1000
    if kind == "long":
        return 30 * values
    return values


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["normal", "positive", "alike", "long"])
@pytest.mark.parametrize("dim", [1, 16, 1536])
def test_tiles_are_within_their_slack(metric, kind, dim):
    query, gallery = features(0, 70, dim, kind), features(1, 900, dim, kind)
    expected = exact(query, gallery, metric)
    seen = np.zeros(expected.shape, dtype=int)
    for tile in FeatureDistances(query, gallery, metric, block=32).tiles():
        error = np.abs(tile.values - expected[tile.query])
        # Far below the bound, which must hold for every product on every machine.
        assert np.all(error <= tile.slack[:, None] / 2)
        seen[tile.query] += 1
    assert np.all(seen == 1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_slack_leaves_few_pairs_to_compute_exactly(metric):
    query, gallery = features(0, 50, 1536, "normal"), features(1, 500, 1536, "normal")
    spread = exact(query, gallery, metric).std()
    assert all(np.all(tile.slack < spread / 1000) for tile in FeatureDistances(query, gallery, metric).tiles())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_between_is_exact(metric):
    query, gallery = features(0, 20, 48, "normal"), features(1, 90, 48, "normal")
    rows, columns = np.divmod(np.arange(20 * 90), 90)
    distances = FeatureDistances(query, gallery, metric).between(rows, columns)
    np.testing.assert_allclose(distances, exact(query, gallery, metric).ravel(), rtol=1e-13)


def test_between_gives_copies_one_distance():
    gallery = features(1, 40, 33, "normal")[np.random.default_rng(2).integers(0, 40, 3000)]
    distances = FeatureDistances(features(0, 2, 33, "normal"), gallery)
    everything = np.arange(3000)
    together = distances.between(np.full(3000, 1), everything)
    alone = [distances.between(np.array([1]), everything[i : i + 1])[0] for i in everything]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, distances.between_many(np.full(3000, 1), everything))
    assert len(np.unique(together)) == 40


def test_shown_is_what_people_know():
    query, gallery = features(0, 3, 8, "normal"), features(1, 4, 8, "normal")
    pairs = np.array([0, 1, 2]), np.array([3, 0, 2])
    cosine = FeatureDistances(query, gallery, "cosine")
    expected = 1 - torch.nn.functional.cosine_similarity(torch.tensor(query[pairs[0]]), torch.tensor(gallery[pairs[1]]))
    np.testing.assert_allclose(cosine.shown(cosine.between(*pairs)), expected, atol=1e-6)
    euclidean = FeatureDistances(query, gallery, "euclidean")
    expected = np.linalg.norm(query[pairs[0]] - gallery[pairs[1]], axis=1)
    np.testing.assert_allclose(euclidean.shown(euclidean.between(*pairs)), expected, rtol=1e-6)


def test_tensors_and_half_precision_are_accepted():
    query, gallery = features(0, 5, 16, "normal"), features(1, 6, 16, "normal")
    plain = FeatureDistances(query, gallery)
    tensor = FeatureDistances(torch.tensor(query, requires_grad=True), torch.tensor(gallery))
    pairs = np.arange(5), np.arange(5)
    assert np.array_equal(plain.between(*pairs), tensor.between(*pairs))
    half = FeatureDistances(query.astype(np.float16), torch.tensor(gallery).bfloat16())
    np.testing.assert_allclose(half.between(*pairs), plain.between(*pairs), rtol=0.05)


@pytest.mark.parametrize(("query", "gallery", "metric", "message"), [
    (np.ones((2, 4)), np.ones((3, 5)), "cosine", "4 values and gallery features 5"),
    (np.ones((2, 4)), np.ones((3, 4)), "jaccard", "unknown metric 'jaccard'"),
    (np.ones(4), np.ones((3, 4)), "cosine", "must be a matrix"),
    (np.full((2, 4), np.nan), np.ones((3, 4)), "cosine", "2 of 2 query features are NaN or infinite"),
    (np.ones((2, 4)), np.array([[1.0, 1, 1, 1], [1, np.inf, 1, 1]]), "euclidean", r"1 of 2 gallery .* at \[1\]"),
])  # fmt: skip
def test_features_that_cannot_be_used(query, gallery, metric, message):
    with pytest.raises(InputError, match=message):
        FeatureDistances(query, gallery, metric)


def test_matrix_with_nan_is_refused():
    """fast-reid ranks an all-NaN matrix and reports mAP 3.6 (audit, evaluation 28)."""
    matrix = np.ones((3, 4), dtype=np.float32)
    matrix[2, 2] = np.nan
    for block in (2, 256):
        with pytest.raises(InputError, match="1 of 12 distances are NaN"):
            MatrixDistances(matrix, block)


def test_features_beyond_single_precision():
    """In single precision, their squared distances would be infinite, and every match at rank 1."""
    large = 1e17 * features(0, 5, 16, "normal").astype(np.float32)
    with pytest.raises(InputError, match=r"gallery features are as long as \d\.\de\+19, too large for the euclidean"):
        FeatureDistances(large, 100 * large, "euclidean")
    pairs = np.divmod(np.arange(25), 5)
    distances = FeatureDistances(large, large, "euclidean")
    (tile,) = distances.tiles()
    assert np.all(np.abs(tile.values - distances.between(*pairs).reshape(5, 5)) <= tile.slack[:, None])
    assert np.isfinite(FeatureDistances(large, 1e10 * large, "cosine").between(*pairs)).all()
