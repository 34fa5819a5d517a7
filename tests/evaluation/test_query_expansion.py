import numpy as np
import pytest
import torch
from fastreid.evaluation.query_expansion import aqe as fastreid_aqe

from dcal_reid.errors import InputError
from dcal_reid.evaluation import query_expansion
from dcal_reid.evaluation.neighbours import Neighbours, find_neighbours
from dcal_reid.evaluation.query_expansion import ExpansionOptions, expand


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def realistic():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20, 32))[rng.integers(0, 20, 300)] + 0.7 * rng.standard_normal((300, 32))
    return features.astype(np.float32)


@pytest.mark.parametrize(("alpha", "times"), [(0.0, 1), (0.0, 3), (1.0, 1), (3.0, 1)])
@pytest.mark.parametrize("k", [2, 5, 10])
def test_equals_fastreid_up_to_length(alpha, times, k):
    """With weights only once: fast-reid's features then have other lengths, which a second mean does not ignore."""
    features = realistic()
    expected = torch.cat(fastreid_aqe(torch.tensor(features[:50]), torch.tensor(features[50:]), times, k, alpha))
    expanded = expand(features, ExpansionOptions(k, alpha, times))
    np.testing.assert_allclose(unit(expanded), unit(expected.numpy()), atol=2e-6)


def test_equals_the_definition():
    features = realistic()[:40]
    similarity = unit(features.astype(float)) @ unit(features.astype(float)).T
    expanded = expand(features, ExpansionOptions(4, 2.0))
    for i in range(40):
        nearest = np.argsort(-similarity[i])[:4]
        weight = np.maximum(similarity[i, nearest], 0) ** 2
        np.testing.assert_allclose(expanded[i], weight @ features[nearest] / weight.sum(), rtol=1e-5, atol=1e-6)


def test_the_order_in_which_neighbours_are_found_does_not_matter(monkeypatch):
    # Through rounding, their sum depends on its order.
    features = np.repeat(np.array([[1e16], [-1e16], [1]], dtype=np.float32), 8, axis=1)
    expected = expand(features, ExpansionOptions(k=3, alpha=0))

    def backwards(*arguments):
        found = find_neighbours(*arguments)
        return Neighbours(found.index[:, ::-1], found.farthest)

    monkeypatch.setattr(query_expansion, "find_neighbours", backwards)
    assert np.array_equal(expand(features, ExpansionOptions(k=3, alpha=0)), expected)


def test_one_neighbour_is_the_item_itself():
    features = realistic()
    np.testing.assert_allclose(expand(features, ExpansionOptions(k=1)), features, rtol=1e-6)


def test_opposite_neighbours_have_no_weight():
    """A negative similarity raised to a power that is not an integer is NaN in fast-reid."""
    features = np.array([[1.0, 0], [-1, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(expand(features, ExpansionOptions(k=2, alpha=2.5)), features, rtol=1e-6)


def test_a_feature_of_zeros_stays_finite():
    features = np.concatenate([np.zeros((1, 8)), np.eye(8)]).astype(np.float32)
    assert np.isfinite(expand(features, ExpansionOptions(k=3))).all()


@pytest.mark.parametrize("copies", [1, 4])
def test_a_feature_of_zeros_stays_and_changes_no_other(copies):
    features = realistic()[:20]
    zeros = np.zeros((copies, 32), dtype=np.float32)
    expanded = expand(np.concatenate([features, zeros]), ExpansionOptions(k=20 + copies, alpha=1.0))
    assert not expanded[20:].any()
    np.testing.assert_allclose(expanded[:20], expand(features, ExpansionOptions(k=20, alpha=1.0)), rtol=1e-5, atol=1e-6)


def test_more_neighbours_than_items():
    features = realistic()[:6]
    assert expand(features, ExpansionOptions(k=50)).shape == (6, 32)


@pytest.mark.parametrize("options", [{"k": 0}, {"times": 0}, {"alpha": -1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError, match="query expansion"):
        ExpansionOptions(**options)
