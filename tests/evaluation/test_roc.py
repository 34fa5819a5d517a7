import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from dcal_reid.errors import InputError
from dcal_reid.evaluation import roc
from dcal_reid.evaluation.ranking import rank_features, rank_matrix


def pairs(matrix, query_pids, gallery_pids, query_camids, gallery_camids):
    """Distances of all positive and of all negative pairs, in loops."""
    positive, negative = [], []
    for i, row in enumerate(matrix):
        for j, distance in enumerate(row):
            if gallery_pids[j] != query_pids[i]:
                negative.append(distance)
            elif gallery_camids[j] != query_camids[i]:
                positive.append(distance)
    return np.array(positive), np.array(negative)


@st.composite
def cases(draw):
    num_query, num_gallery = draw(st.integers(1, 9)), draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = rng.integers(0, draw(st.sampled_from([2, 10, 10**6])), (num_query, num_gallery)) / 7
    return matrix, *(rng.integers(0, n, size) for n in (4, 3) for size in (num_query, num_gallery))


@given(cases(), st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]), min_size=1, max_size=4))
@settings(max_examples=200)
def test_tpr_at_fpr_equals_the_definition(case, fprs):
    """The largest share of accepted positives over all thresholds at which few enough negatives are accepted."""
    positive, negative = pairs(*case)
    if len(positive) == 0:
        return
    curve = rank_matrix(*case, fprs=fprs).roc
    assert (curve.num_positive_pairs, curve.num_negative_pairs) == (len(positive), len(negative))
    thresholds = [*np.unique(np.concatenate([positive, negative])), np.inf]
    for fpr, tpr, threshold in zip(fprs, curve.tpr, curve.threshold, strict=True):
        allowed = [t for t in thresholds if np.count_nonzero(negative < t) <= int(fpr * len(negative))]
        assert tpr == max(np.mean(positive < t) for t in allowed)
        assert tpr == np.mean(positive < threshold)
        assert np.count_nonzero(negative < threshold) <= int(fpr * len(negative))


def realistic(num_query=40, num_gallery=800):
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 30, num_query + num_gallery)
    features = rng.standard_normal((30, 64))[pids] + 1.5 * rng.standard_normal((len(pids), 64))
    features, cams = features.astype(np.float32), rng.integers(0, 4, len(pids))
    q, g = slice(None, num_query), slice(num_query, None)
    return features[q], features[g], pids[q], pids[g], cams[q], cams[g]


def test_roles_are_those_of_the_standard_curve():
    """fast-reid swaps positives and negatives: 0.222 where the standard gives 0.097 (audit, evaluation 27)."""
    query, gallery, *labels = realistic()
    unit = [side / np.linalg.norm(side.astype(float), axis=1, keepdims=True) for side in (query, gallery)]
    matrix = 1 - unit[0] @ unit[1].T
    positive, negative = pairs(matrix, *labels)
    is_positive = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    fpr, tpr, _ = roc_curve(is_positive, -np.concatenate([positive, negative]), drop_intermediate=False)
    curve = rank_features(query, gallery, *labels, fprs=(1e-3, 1e-2, 1e-1)).roc
    for wanted, got in zip(curve.fpr, curve.tpr, strict=True):
        assert got == pytest.approx(tpr[fpr <= wanted].max(), abs=1e-12)


def test_threshold_can_be_used_as_it_is():
    query, gallery, *labels = realistic()
    for metric in ("cosine", "euclidean"):
        curve = rank_features(query, gallery, *labels, metric=metric, fprs=(0.01,)).roc
        if metric == "cosine":
            unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery)]
            matrix = 1 - unit[0] @ unit[1].T
        else:
            matrix = np.sqrt(((query[:, None] - gallery[None]) ** 2).sum(-1))
        positive, negative = pairs(matrix, *labels)
        assert np.mean(negative < curve.threshold[0] - 1e-5) <= 0.01
        assert np.mean(negative < curve.threshold[0] + 1e-5) >= 0.0099
        assert np.mean(positive < curve.threshold[0]) == pytest.approx(curve.tpr[0], abs=1e-3)


def test_only_the_closest_negatives_are_kept(monkeypatch):
    kept = []
    shrink = roc.ClosestNegatives._shrink
    monkeypatch.setattr(roc, "_BUFFER", 1000)
    monkeypatch.setattr(roc.ClosestNegatives, "_shrink", lambda self: shrink(self) or kept.append(len(self._kept[0])))
    query, gallery, *labels = realistic()
    curve = rank_features(query, gallery, *labels, fprs=(0.01,), block=2).roc
    assert len(kept) > 2
    assert max(kept) < 0.02 * curve.num_negative_pairs


def test_the_table_is_in_percent():
    table = roc.RocCurve(np.array([1e-3]), np.array([0.7]), np.array([0.25]), 9, 99).table()
    assert [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")] == ["0.1", "70.00", "0.2500"]


def test_all_gallery_items_are_positives():
    curve = rank_matrix(np.array([[0.3, 0.6]]), [1], [1, 1], fprs=(0.01,)).roc
    assert curve.num_negative_pairs == 0
    assert curve.tpr.tolist() == [1.0]
    assert curve.as_dict()["threshold"] == [None]


@pytest.mark.parametrize("fpr", [-0.1, 1.5])
def test_rates_that_are_no_rates(fpr):
    with pytest.raises(InputError, match=f"false positive rate must be between 0 and 1, not {fpr}"):
        rank_matrix(np.ones((1, 2)), [1], [1, 2], fprs=(0.1, fpr))


def test_ties_do_not_fill_the_memory(monkeypatch):
    """A model that gives one feature for everything: all negatives are as close as the closest."""
    kept = []
    shrink = roc.ClosestNegatives._shrink
    monkeypatch.setattr(roc, "_BUFFER", 1000)
    monkeypatch.setattr(roc.ClosestNegatives, "_shrink", lambda self: shrink(self) or kept.append(len(self._kept[0])))
    _, _, *labels = realistic()
    curve = rank_features(np.ones((40, 8)), np.ones((800, 8)), *labels, fprs=(1e-3, 1e-2)).roc
    assert curve.tpr.tolist() == [0.0, 0.0]
    assert curve.threshold.tolist() == [0.0, 0.0]
    assert len(kept) > 10
    assert max(kept) < 2000
