"""Ranking against loops written from the definitions, and against fast-reid's own Python evaluation."""

import warnings

import numpy as np
import pytest
import torch
from helpers.rankings import matrices_with_ties, realistic, same
from hypothesis import example, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from dcal_reid.errors import InputError
from dcal_reid.evaluation import counting, roc
from dcal_reid.evaluation.distances import FeatureDistances, MatrixDistances, Tile
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.ranking import rank, rank_features, rank_matrix


def naive(distances, query_pids, gallery_pids, query_camids, gallery_camids, ap="step"):
    """AP, INP and first rank of each query, by sorting the gallery for each and walking down the list."""
    scores = []
    for row, pid, cam in zip(distances, query_pids, query_camids, strict=True):
        listed = sorted(range(len(row)), key=lambda j: (row[j], j))
        listed = [j for j in listed if gallery_pids[j] != pid or gallery_camids[j] != cam]
        hits = [rank for rank, j in enumerate(listed, start=1) if gallery_pids[j] == pid]
        if not hits:
            scores.append((np.nan, np.nan, 0))
            continue
        total, found, before = 0.0, 0, 1.0
        for rank_, j in enumerate(listed, start=1):
            hit = gallery_pids[j] == pid
            found += hit
            precision = found / rank_
            total += hit * (precision if ap == "step" else (before + precision) / 2)
            before = precision
        scores.append((total / len(hits), len(hits) / hits[-1], hits[0]))
    return [np.array(column) for column in zip(*scores, strict=True)]


@given(matrices_with_ties(), st.sampled_from(["step", "trapezoid"]))
@settings(max_examples=300)
def test_matrix_ranking_equals_the_definition(case, ap):
    expected = naive(*case, ap=ap)
    if not expected[2].any():
        with pytest.raises(InputError, match="none of the"):
            rank_matrix(*case, ap=ap)
        return
    result = rank_matrix(*case, ap=ap)
    np.testing.assert_allclose(result.ap, expected[0], rtol=1e-12)
    np.testing.assert_allclose(result.inp, expected[1], rtol=1e-12)
    assert np.array_equal(result.first_rank, expected[2])


@st.composite
def features_with_copies(draw):
    """Features many of which are copies of each other, while some differ in the last bit, and all may be alike."""
    num_query, num_gallery = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds, dim = draw(st.integers(1, 20)), draw(st.sampled_from([1, 3, 40]))
    pool = rng.standard_normal((kinds, dim)) * draw(st.sampled_from([1e-4, 1, 50])) + draw(st.sampled_from([0, 1, 30]))
    pool = pool.astype(np.float32)
    pool = np.concatenate([pool, np.nextafter(pool, np.float32(np.inf))])
    query, gallery = pool[rng.integers(0, len(pool), num_query)], pool[rng.integers(0, len(pool), num_gallery)]
    labels = [rng.integers(0, n, size) for n in (5, 2) for size in (num_query, num_gallery)]
    return query, gallery, *labels


@given(features_with_copies(), st.sampled_from(["cosine", "euclidean"]), st.integers(1, 9))
@settings(max_examples=200)
def test_feature_ranking_is_that_of_the_exact_distances(case, metric, block):
    query, gallery, *labels = case
    distances = FeatureDistances(query, gallery, metric)
    rows, columns = np.divmod(np.arange(len(query) * len(gallery)), len(gallery))
    matrix = distances.between(rows, columns).reshape(len(query), len(gallery))
    if not naive(matrix, *labels)[2].any():
        return
    same(rank_features(query, gallery, *labels, metric=metric, block=block), rank_matrix(matrix, *labels))


def larger_case():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, n, size) for n in (8, 3) for size in (40, 60)]
    return rng.integers(0, 1000, (40, 60)) / 1000, *labels


class OffBySlack(MatrixDistances):
    """Every distance of a tile is as wrong as its slack allows."""

    def __init__(self, matrix, slack, tensors):
        super().__init__(matrix, block=3)
        self.slack, self.tensors = slack, tensors

    def tiles(self):
        rng = np.random.default_rng(0)
        for tile in super().tiles():
            values = tile.values + self.slack * rng.choice([-1, 1], tile.values.shape)
            slack = np.full(len(values), float(self.slack))
            yield Tile(tile.query, torch.from_numpy(values) if self.tensors else values, slack)


@given(
    matrices_with_ties(), st.sampled_from([0, 1, 350]), st.booleans(), st.integers(1, 100),
    st.sampled_from([(0.5, 0.05, 1.0), (0.01, 0.1)]),
)  # fmt: skip
@example(larger_case(), 350, False, 1, (0.01, 0.1))
@settings(max_examples=200)
def test_ranks_and_rates_are_those_of_the_exact_distances(case, slack, tensors, memory, fprs):
    """Wherever a product lies within its slack, and however few distances are processed together."""
    matrix, matches = np.rint(1000 * case[0]), find_matches(*case[1:])
    if matches.junk.all():
        return
    expected = rank(MatrixDistances(matrix), matches, fprs=fprs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_CACHED", memory)
        patch.setattr(roc, "_BUFFER", memory)
        found = rank(OffBySlack(matrix, slack, tensors), matches, fprs=fprs)
    same(found, expected)
    assert np.array_equal(found.roc.threshold, expected.roc.threshold)


@pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_fastreid_on_random_features(metric):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cython rank evaluation")
        from fastreid.evaluation.rank import evaluate_rank
    from fastreid.utils.compute_dist import build_dist

    query, gallery, *labels = realistic()
    # In double precision: in single precision fast-reid's own distances are off in the last digits.
    distances = build_dist(torch.tensor(query).double(), torch.tensor(gallery).double(), metric)
    cmc, ap, inp = evaluate_rank(distances, *labels, use_cython=False)
    result = rank_features(query, gallery, *labels, metric=metric)
    assert 0.3 < result.mAP < 0.9
    np.testing.assert_allclose(result.ap, ap, rtol=1e-12)
    np.testing.assert_allclose(result.inp, inp, rtol=1e-12)
    np.testing.assert_allclose(result.cmc(50), cmc, rtol=1e-6)
    same(result, rank_matrix(distances, *labels))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_values_do_not_depend_on_the_block_size(metric):
    query, gallery, *labels = realistic(dim=1536)
    results = [
        rank_features(query, gallery, *labels, metric=metric, block=b, fprs=(1e-4, 1e-2)) for b in (1, 7, 64, 4096)
    ]
    for result in results[1:]:
        same(result, results[0])
        assert np.array_equal(result.roc.threshold, results[0].roc.threshold)
        assert result.metrics() == results[0].metrics()


def test_values_do_not_depend_on_the_number_of_threads():
    query, gallery, *labels = realistic(dim=1536)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(rank_features(query, gallery, *labels))
    same(*results)


@given(features_with_copies(), st.sampled_from(["cosine", "euclidean"]))
@settings(max_examples=100)
def test_the_way_of_the_gpu_gives_the_same_values(case, metric):
    """The GPU code, run on CPU tensors."""
    query, gallery, *labels = case
    matches = find_matches(*labels)
    if matches.junk.all():
        return

    class OnTensors(FeatureDistances):
        def tiles(self):
            for tile in super().tiles():
                tile.values = torch.from_numpy(tile.values)
                yield tile

    results = [
        rank(kind(query, gallery, metric, block=3), matches, fprs=(0.05, 0.5)) for kind in (FeatureDistances, OnTensors)
    ]
    same(*results)
    assert np.array_equal(results[0].roc.threshold, results[1].roc.threshold)


def test_ties_are_broken_by_gallery_position():
    """All-equal distances scored mAP 8.1 or 1.9 in fast-reid, by the order of the gallery (audit, evaluation 28)."""
    gallery_pids = np.array([5, 1, 5, 1, 5, 5])
    result = rank_matrix(np.zeros((1, 6)), [1], gallery_pids)
    assert result.first_rank.tolist() == [2]
    assert result.ap.tolist() == [(1 / 2 + 2 / 4) / 2]


def test_a_matrix_is_only_read():
    matrix = np.random.rand(6, 9).astype(np.float32)
    matrix.flags.writeable = False
    rank_matrix(matrix, [1, 2, 3, 1, 2, 3], [1, 2, 3] * 3, fprs=(0.1,))


def test_junk_holds_no_rank():
    matrix = np.array([[0.1, 0.2, 0.3]])
    result = rank_matrix(matrix, [1], [1, 2, 1], [0], [0, 0, 1])
    assert result.first_rank.tolist() == [2]
    assert result.num_junk.tolist() == [1]


def test_queries_without_a_match_keep_their_place():
    """fast-reid's AP list is shorter than its list of queries (audit, evaluation 29)."""
    result = rank_matrix(np.random.rand(4, 3), [1, 8, 2, 3], [1, 2, 3], [0, 0, 0, 0], [1, 1, 0])
    assert result.unanswered.tolist() == [1, 3]
    assert np.isnan(result.ap).tolist() == [False, True, False, True]
    assert result.first_rank[[1, 3]].tolist() == [0, 0]
    assert result.mAP == result.ap[[0, 2]].mean()


def test_no_query_with_a_match_is_an_error_with_counts():
    with pytest.raises(
        InputError, match=r"none of the 3 queries .* 2 have no item .* 1 only items from their own camera"
    ):
        rank_matrix(np.ones((3, 2)), [1, 2, 3], [3, 3], [0, 0, 0], [0, 0])


def test_gallery_smaller_than_the_rank():
    """fast-reid raises a ValueError or reads stale memory (audit, evaluation 30)."""
    result = rank_matrix(np.array([[0.5, 0.1], [0.2, 0.3]]), [1, 1], [1, 2])
    assert result.cmc(50).tolist() == [0.5] + [1.0] * 49
    assert result.metrics()["Rank-10"] == 100


@pytest.mark.parametrize(("change", "message"), [
    ({"ap": "area"}, "unknown kind of average precision 'area'"),
    ({"query_pids": [1, 2]}, "identities of 2 and 3"),
])  # fmt: skip
def test_arguments_that_do_not_fit(change, message):
    arguments = {"distances": np.ones((1, 3)), "query_pids": [1], "gallery_pids": [1, 2, 3]} | change
    with pytest.raises(InputError, match=message):
        rank_matrix(**arguments)
