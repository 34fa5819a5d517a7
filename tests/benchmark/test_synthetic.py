import numpy as np
import pytest

from dcal_reid.benchmark import synthetic
from dcal_reid.errors import InputError
from dcal_reid.evaluation.ranking import rank_features

pytestmark = pytest.mark.usefixtures("toy")


def test_sizes_are_the_published_ones():
    assert synthetic.SIZES["market1501"][:2] == (3368, 15913)
    assert synthetic.SIZES["msmt17"][:2] == (11659, 82161)


@pytest.mark.parametrize("dim", [128, 1536])
def test_noise_makes_the_task_neither_easy_nor_impossible(dim):
    """At the size of Market-1501, on a part of it."""
    data = synthetic.synthetic("market1501", dim)
    result = rank_features(
        data.features[:100],
        data.features[data.gallery],
        data.pids[:100],
        data.labels[1],
        data.camids[:100],
        data.labels[3],
    )
    assert 0.5 < result.mAP < 0.9


def test_generated_features_are_the_same_each_time():
    one, other = (synthetic.synthetic("toy", 16) for _ in range(2))
    assert np.array_equal(one.features, other.features)
    with pytest.raises(InputError, match="unknown size 'mars'"):
        synthetic.synthetic("mars", 16)


def test_labels_are_those_of_the_size(monkeypatch):
    monkeypatch.setitem(synthetic.SIZES, "toy", (60, 5000, 7, 3))
    data = synthetic.synthetic("toy", 8)
    assert data.features.shape == (5060, 8) and data.features.dtype == np.float32
    assert data.num_query == 60 and len(data.features[data.gallery]) == 5000
    assert set(data.pids) == set(range(7)) and set(data.camids) == set(range(3))


def test_without_noise_there_is_one_feature_for_each_identity(monkeypatch):
    """For more identities than are made at a time."""
    monkeypatch.setitem(synthetic.SIZES, "toy", (60, 9000, 7, 3))
    data = synthetic.synthetic("toy", 8, noise=0.0)
    centres = np.stack([data.features[data.pids == pid][0] for pid in range(7)])
    assert np.array_equal(data.features, centres[data.pids])
    assert len(np.unique(centres, axis=0)) == 7
