import numpy as np
import pytest
import torch
from helpers.rankings import matrices_with_ties, realistic, same
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.evaluation import counting
from dcal_reid.evaluation.counting import CloserNegatives
from dcal_reid.evaluation.distances import FeatureDistances, MatrixDistances, Tile
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.ranking import rank, rank_features, rank_matrix


def naive(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """Query by query, for each positive in the order of the gallery."""
    counts = []
    for row, pid, cam in zip(distances, query_pids, query_camids, strict=True):
        negatives = [(distance, j) for j, distance in enumerate(row) if gallery_pids[j] != pid]
        for j in np.flatnonzero((gallery_pids == pid) & (gallery_camids != cam)):
            counts.append(sum(negative < (row[j], j) for negative in negatives))
    return counts


def count(distances, matches, values, slack, bounds):
    closer = CloserNegatives(distances, matches)
    for start, stop in bounds:
        closer.add(Tile(slice(start, stop), values[start:stop], slack[start:stop]))
    return closer.count.tolist()


@given(matrices_with_ties(), st.booleans(), st.integers(1, 100), st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_counts_are_those_of_the_exact_distances(case, tensors, memory, seed):
    """For tiles of any size in any order, with each row as wrong as its own slack allows."""
    matrix, *labels = case
    matrix, rng = np.rint(1000 * matrix), np.random.default_rng(seed)
    slack = rng.choice([0.0, 1.0, 350.0], len(matrix))
    values = (matrix + slack[:, None] * rng.integers(-1, 2, matrix.shape)).astype(rng.choice(["f4", "f8"]))
    cuts = [0, *np.sort(rng.integers(0, len(matrix) + 1, 3)), len(matrix)]
    bounds = rng.permutation(np.stack([cuts[:-1], cuts[1:]], axis=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_CACHED", memory)
        found = count(
            MatrixDistances(matrix),
            find_matches(*labels),
            torch.from_numpy(values) if tensors else values,
            slack,
            bounds,
        )
    assert found == naive(matrix, *labels)


@pytest.mark.parametrize("tensors", [False, True])
def test_distances_that_a_tile_in_single_precision_cannot_tell_apart(tensors):
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 4, (20, 200)) + 1e-12 * rng.integers(-30, 31, (20, 200))
    labels = [rng.integers(0, n, size) for n in (9, 3) for size in (20, 200)]
    values = torch.tensor(matrix, dtype=torch.float32) if tensors else matrix.astype(np.float32)
    assert len(np.unique(values)) == 3
    found = count(MatrixDistances(matrix), find_matches(*labels), values, np.full(20, 1e-10), [(0, 20)])
    assert found == naive(matrix, *labels)


def test_a_model_that_gives_one_feature_for_everything_is_ranked_in_gallery_order(monkeypatch):
    """Everything ties, and is still fast: copies are compared once."""
    compared = []
    between = FeatureDistances.between
    monkeypatch.setattr(counting, "_MANY", 1000)
    monkeypatch.setattr(FeatureDistances, "between", lambda self, q, g: compared.append(len(q)) or between(self, q, g))
    rng = np.random.default_rng(0)
    query, gallery = np.ones((5, 32), np.float32), np.ones((3000, 32), np.float32)
    query_pids, gallery_pids = rng.integers(0, 9, 5), rng.integers(0, 9, 3000)
    result = rank_features(query, gallery, query_pids, gallery_pids)
    same(result, rank_matrix(np.zeros((5, 3000)), query_pids, gallery_pids))
    # Each positive, and for each query one of the copies.
    assert sum(compared) == result.num_positives.sum() + 5


def test_few_pairs_are_computed_exactly():
    """The product decides nearly all comparisons, even where features are all alike."""
    query, gallery, *labels = realistic(num_gallery=2000, dim=1536)
    for shift in (0, 100):
        distances = FeatureDistances(query + np.float32(shift), gallery + np.float32(shift))
        between, asked = distances.between, []
        distances.between = lambda q, g, between=between, asked=asked: asked.append(len(q)) or between(q, g)
        rank(distances, find_matches(*labels))
        assert sum(asked) < 0.001 * len(query) * len(gallery)
