"""Re-ranking against the definition written with dense loops, and against fast-reid's dense implementation."""

import numpy as np
import pytest
import torch
from fastreid.evaluation.rerank import re_ranking as fastreid_re_ranking
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.evaluation import reciprocal
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.products import Prepared
from dcal_reid.evaluation.ranking import rank, rank_matrix
from dcal_reid.evaluation.rerank import RerankedDistances, RerankOptions
from dcal_reid.evaluation.scaled import ScaledFeatures


def dense(features, num_query, k1, k2, weight):
    """Zhong et al. word by word; ties by position; squared distances divided by the largest of each item."""
    distance = ((features[:, None] - features[None]) ** 2).sum(-1)
    largest = distance.max(axis=1, keepdims=True)
    distance = distance / np.where(largest > 0, largest, 1)
    order = np.argsort(distance, axis=1, kind="stable")

    def nearest(i, k):
        return set(order[i, : k + 1].tolist())

    def reciprocal(i, k):
        return {j for j in nearest(i, k) if i in nearest(j, k)}

    half = int(np.around(k1 / 2))
    encoding = np.zeros_like(distance)
    for i in range(len(features)):
        members = reciprocal(i, k1)
        expanded = set(members)
        for j in members:
            joining = reciprocal(j, half)
            if len(joining & members) > 2 / 3 * len(joining):
                expanded |= joining
        if expanded:
            expanded = sorted(expanded)
            encoding[i, expanded] = np.exp(-distance[i, expanded])
            encoding[i] /= encoding[i].sum()
    if k2 > 1:
        encoding = np.stack([encoding[order[i, :k2]].mean(axis=0) for i in range(len(features))])
    jaccard = np.zeros((num_query, len(features) - num_query))
    for i in range(num_query):
        for j in range(num_query, len(features)):
            small, large = np.minimum(encoding[i], encoding[j]).sum(), np.maximum(encoding[i], encoding[j]).sum()
            jaccard[i, j - num_query] = 1 - small / large if large > 0 else 1
    return (1 - weight) * jaccard + weight * distance[:num_query, num_query:]


def all_pairs(reranked):
    query, gallery = np.divmod(np.arange(reranked.num_query * reranked.num_gallery), reranked.num_gallery)
    return reranked.between(query, gallery).reshape(reranked.num_query, -1)


@st.composite
def cases(draw):
    """Clustered features, some of them copies; sizes below and above k1."""
    count = draw(st.integers(2, 45))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    clusters, dim = draw(st.integers(1, 8)), draw(st.sampled_from([2, 12]))
    features = rng.standard_normal((clusters, dim))[rng.integers(0, clusters, count)] * 2
    features += draw(st.sampled_from([0.0, 0.3, 1.5])) * rng.standard_normal((count, dim))
    copies = rng.integers(0, count, draw(st.integers(0, count // 2)))
    features[copies] = features[rng.integers(0, count, len(copies))]
    options = RerankOptions(draw(st.integers(1, 25)), draw(st.integers(1, 8)), draw(st.sampled_from([0.0, 0.3, 1.0])))
    return features.astype(np.float32), draw(st.integers(1, count - 1)), options


@given(cases(), st.sampled_from(["cosine", "euclidean"]))
@settings(max_examples=150)
def test_equals_the_dense_definition(case, metric):
    features, num_query, options = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reciprocal, "_ROWS", 5)
        patch.setattr(reciprocal, "_QUERIES", 3)
        reranked = RerankedDistances(features, num_query, options, metric)
    expected = dense(ScaledFeatures(features, metric)[slice(None)], num_query, options.k1, options.k2, options.weight)
    np.testing.assert_allclose(all_pairs(reranked), expected, atol=1e-5)


@given(cases(), st.integers(1, 9), st.booleans())
@settings(max_examples=60)
def test_tiles_are_within_their_slack(case, block, tensors):
    """On arrays, and on tensors as a GPU has them."""
    features, num_query, options = case
    reranked = RerankedDistances(features, num_query, options, block=block)
    expected, seen = all_pairs(reranked), 0

    def on_tensors(self, centre, device):
        prepared = Prepared(self.features, self.scale, centre, device)
        prepared.right = torch.from_numpy(prepared.right)
        return prepared

    with pytest.MonkeyPatch.context() as patch:
        if tensors:
            patch.setattr(ScaledFeatures, "prepared", on_tensors)
        for tile in reranked.tiles():
            assert np.all(np.abs(np.asarray(tile.values) - expected[tile.query]) <= tile.slack[:, None] / 2)
            seen += len(tile.values)
    assert seen == num_query


def realistic(noise=1.0):
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 30, 400)
    features = rng.standard_normal((30, 24))[pids] + noise * rng.standard_normal((400, 24))
    return features.astype(np.float32), pids, rng.integers(0, 4, 400)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("options", [RerankOptions(), RerankOptions(7, 1, 0.1), RerankOptions(30, 10, 0.8)])
def test_equals_fastreids_dense_implementation(metric, options):
    features, _, _ = realistic()
    scaled = ScaledFeatures(features, metric)[slice(None)]
    distances = np.sqrt(((scaled[:, None] - scaled[None]) ** 2).sum(-1))
    expected = fastreid_re_ranking(
        distances[:60, 60:], distances[:60, :60], distances[60:, 60:], options.k1, options.k2, options.weight
    )
    np.testing.assert_allclose(all_pairs(RerankedDistances(features, 60, options, metric)), expected, atol=1e-5)


def test_ranks_do_not_depend_on_the_block_size_and_improve():
    features, pids, cams = realistic(1.6)
    matches = find_matches(pids[:60], pids[60:], cams[:60], cams[60:])
    results = [rank(RerankedDistances(features, 60, RerankOptions(), block=b), matches) for b in (1, 13, 256)]
    assert np.array_equal(results[0].ap, results[1].ap)
    assert np.array_equal(results[0].ap, results[2].ap)
    same = rank_matrix(
        all_pairs(RerankedDistances(features, 60, RerankOptions())), pids[:60], pids[60:], cams[:60], cams[60:]
    )
    assert np.array_equal(results[0].ap, same.ap)
    plain = rank(RerankedDistances(features, 60, RerankOptions(weight=1.0)), matches)
    assert results[0].mAP > plain.mAP + 0.02


def test_scale_of_features_does_not_matter_under_the_euclidean_metric():
    """fast-reid's re-ranking does nothing at the feature norms of a ViT (audit, evaluation 26)."""
    features, _, _ = realistic()
    small, large = (
        all_pairs(RerankedDistances(factor * features, 60, RerankOptions(), "euclidean")) for factor in (1, 256)
    )
    np.testing.assert_allclose(small, large, atol=1e-12)


def test_a_model_that_gives_one_feature_for_everything():
    reranked = RerankedDistances(np.ones((120, 4), np.float32), 20, RerankOptions())
    assert np.isfinite(all_pairs(reranked)).all()


@pytest.mark.parametrize("options", [{"k1": 0}, {"k2": 0}, {"weight": 1.5}, {"weight": -0.1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError, match="re-ranking"):
        RerankOptions(**options)
