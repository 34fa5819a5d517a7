import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation.distances import FeatureDistances, MatrixDistances
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.rank_list import rank_lists
from dcal_reid.evaluation.ranking import rank


def case(seed=0):
    rng = np.random.default_rng(seed)
    pids, cams = rng.integers(0, 6, 90), rng.integers(0, 3, 90)
    features = (rng.standard_normal((6, 12))[pids] + rng.standard_normal((90, 12))).astype(np.float32)
    return features, find_matches(pids[:20], pids[20:], cams[:20], cams[20:])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_first_match_stands_at_the_first_rank(metric):
    features, matches = case()
    distances = FeatureDistances(features[:20], features[20:], metric)
    result = rank(distances, matches)
    for found in rank_lists(distances, matches, np.arange(20), 70):
        hits = np.flatnonzero(found.matches) + 1
        assert hits[0] == result.first_rank[found.query]
        assert np.mean(np.arange(1, len(hits) + 1) / hits) == pytest.approx(result.ap[found.query])
        assert len(found.gallery) == 70 - result.num_junk[found.query]


def test_shown_distances_and_ties():
    distances, matches = (
        MatrixDistances(np.array([[2.0, 1.0, 1.0, 0.0]])),
        find_matches([1], [1, 2, 1, 1], [0], [1, 1, 1, 0]),
    )
    (found,) = rank_lists(distances, matches, [0], 2)
    assert found.gallery.tolist() == [1, 2]
    assert found.distances.tolist() == [1.0, 1.0]
    assert found.matches.tolist() == [False, True]
    features, matches = case()
    (found,) = rank_lists(FeatureDistances(features[:20], features[20:]), matches, 3, 5)
    a, b = features[3], features[20 + found.gallery[0]]
    assert found.distances[0] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)


def test_many_ties_are_in_the_order_of_the_gallery():
    row = np.random.default_rng(0).integers(0, 3, 500).astype(float)
    (found,) = rank_lists(MatrixDistances(row[None]), find_matches([1], [1] * 500), [0], 400)
    assert found.gallery.tolist() == sorted(range(500), key=lambda place: (row[place], place))[:400]


@pytest.mark.parametrize(("queries", "k"), [([20], 5), ([-1], 5), ([0], 0)])
def test_lists_that_do_not_exist(queries, k):
    features, matches = case()
    with pytest.raises(InputError, match=f"rank lists of length {k}"):
        rank_lists(FeatureDistances(features[:20], features[20:]), matches, queries, k)
