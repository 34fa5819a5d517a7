import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FeatureSet
from dcal_reid.search import threshold_at
from dcal_reid.search.verification import check_threshold


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 12, 150)
    values = rng.standard_normal((12, 16))[pids] + rng.standard_normal((150, 16))
    paths = np.array([f"{i}.jpg" for i in range(150)])
    return FeatureSet(values.astype(np.float32), pids, rng.integers(0, 3, 150), np.arange(150), paths, num_query=50)


def pair_distances(data, metric):
    """Distances of all pairs that are not junk: negative ones and positive ones."""
    query, gallery = data.features[data.query].astype(float), data.features[data.gallery].astype(float)
    if metric == "cosine":
        query, gallery = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery))
        distance = 1 - query @ gallery.T
    else:
        distance = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    same = data.pids[data.query][:, None] == data.pids[data.gallery][None]
    junk = same & (data.camids[data.query][:, None] == data.camids[data.gallery][None])
    return distance[~same], distance[same & ~junk]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("far", [0.001, 0.02, 0.3])
def test_the_threshold_accepts_as_many_pairs_as_it_says(data, metric, far):
    found = threshold_at(data, far, metric)
    negatives, positives = pair_distances(data, metric)
    assert (found.num_negative_pairs, found.num_positive_pairs) == (len(negatives), len(positives))
    assert np.count_nonzero(negatives < found.distance - 1e-9) == found.accepted_negatives == int(far * len(negatives))
    assert np.mean(positives < found.distance - 1e-9) == pytest.approx(found.true_accept_rate)
    # No larger threshold accepts as few negatives.
    assert np.count_nonzero(negatives < found.distance + 1e-6) > far * len(negatives)


def test_rates_that_cannot_be_told_are_refused(data):
    negatives = len(pair_distances(data, "cosine")[0])
    assert threshold_at(data, 1.0001 / negatives).accepted_negatives == 1
    with pytest.raises(InputError, match=f"--far 0.0001 is less than one in {negatives:,}, the number of negative"):
        threshold_at(data, 0.0001)
    for far in (0, 1, -0.1, float("nan")):
        with pytest.raises(InputError, match="give a share between 0 and 1"):
            threshold_at(data, far)


def test_without_positive_pairs(data):
    pids = np.arange(len(data))
    other = FeatureSet(data.features, pids, data.camids, data.indices, data.paths, data.num_query)
    with pytest.raises(InputError, match="none of the 50 queries has a match"):
        threshold_at(other, 0.01)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_thresholds_that_are_no_distances(threshold):
    with pytest.raises(InputError, match=r"--threshold is .*; it is a distance"):
        check_threshold(threshold)
