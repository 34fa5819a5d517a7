import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from dcal_reid.evaluation import reciprocal
from dcal_reid.evaluation.reciprocal import average_encoding, encode, expanded_neighbours, jaccard_similarity
from dcal_reid.evaluation.scaled import ScaledFeatures


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(reciprocal, "_ROWS", 5)
    monkeypatch.setattr(reciprocal, "_QUERIES", 3)


def sets(index, size, half):
    """R*(i, k1) word by word; two thirds in whole numbers."""

    def mutual(i, k):
        return {j for j in index[i, :k].tolist() if i in index[j, :k]}

    expanded = []
    for i in range(len(index)):
        members = mutual(i, size)
        joining = [mutual(j, half) for j in members]
        expanded.append(members.union(*(some for some in joining if 3 * len(some & members) > 2 * len(some))))
    return expanded


@st.composite
def neighbour_lists(draw):
    """Lists in which an item need not be its own neighbour, because there may be too many copies of it."""
    count = draw(st.integers(1, 25))
    size = draw(st.integers(1, count))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positions = np.arange(count) + draw(st.sampled_from([0, 3])) * rng.standard_normal((count, count))
    index = np.argsort(np.abs(positions - np.arange(count)[:, None]), axis=1)
    return index[:, : draw(st.integers(size, count))], size, draw(st.integers(1, size))


@given(neighbour_lists())
@settings(max_examples=100)
def test_expanded_neighbours_are_those_of_the_definition(lists):
    found = expanded_neighbours(*lists)
    assert found.shape == (len(lists[0]),) * 2
    assert [set(np.flatnonzero(row)) for row in found.toarray()] == sets(*lists)


def random_encoding(rows, columns, density, seed=0):
    """Rows of unequal sums, the first of them empty."""
    dense = np.random.default_rng(seed).random((rows, columns))
    dense *= np.random.default_rng(seed + 1).random((rows, columns)) < density
    dense[0] = 0
    return dense


def test_an_encoding_weighs_each_neighbour_by_its_distance():
    """Pairs in one direction, in both, and of an item with itself; an item without neighbours; another's farthest."""
    items = ScaledFeatures(np.random.default_rng(0).standard_normal((12, 3)), "euclidean")
    neighbours = random_encoding(12, 12, 0.4) > 0
    farthest = np.linspace(1, 5, 12)
    found = encode(items, sparse.csr_array(neighbours.astype(float)), farthest).toarray()
    distance = ((items.features[:, None] - items.features) ** 2).sum(axis=2)
    weight = np.where(neighbours, np.exp(-distance / farthest[:, None]), 0)
    np.testing.assert_allclose(found[1:], weight[1:] / weight[1:].sum(axis=1, keepdims=True), rtol=1e-12)
    assert not found[0].any()


@pytest.mark.parametrize("k2", [1, 4])
def test_the_mean_encoding_of_the_nearest(k2):
    encoding = random_encoding(9, 9, 0.5)
    nearest = np.random.default_rng(0).permuted(np.tile(np.arange(9), (9, 1)), axis=1)[:, :k2]
    found = average_encoding(sparse.csr_array(encoding), nearest).toarray()
    np.testing.assert_allclose(found, encoding[nearest].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize(("num_query", "num_gallery"), [(7, 20), (1, 1), (9, 1)])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_similarity_is_the_sum_of_minima_over_that_of_maxima(num_query, num_gallery, density, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("dcal_reid.evaluation.threads._WORTH_A_THREAD", 1)
    encoding = random_encoding(num_query + num_gallery, num_query + num_gallery, density)
    query, gallery = encoding[:num_query, None], encoding[num_query:]
    smaller, larger = np.minimum(query, gallery).sum(axis=2), np.maximum(query, gallery).sum(axis=2)
    found = jaccard_similarity(sparse.csr_array(encoding), num_query)
    assert found.shape == (num_query, num_gallery)
    np.testing.assert_allclose(
        found.toarray(), np.divide(smaller, larger, where=larger > 0, out=np.zeros_like(larger)), rtol=1e-12
    )
    # As re-ranking looks pairs up: row by row, each once, in ascending order.
    places = np.repeat(np.arange(num_query), np.diff(found.indptr)) * num_gallery + found.indices
    assert np.all(np.diff(places) > 0)
