import json

import numpy as np
import pytest

from dcal_reid.evaluation.ranking import rank_matrix
from dcal_reid.evaluation.result import RankingResult
from dcal_reid.evaluation.roc import RocCurve


@pytest.fixture
def result():
    """Query 0 answered at rank 2 and 3, query 1 not at all, query 2 at rank 1."""
    matrix = np.array([[3, 1, 2, 4], [1, 2, 3, 4], [9, 8, 1, 2]], dtype=float)
    return rank_matrix(matrix, [1, 5, 2], [1, 3, 1, 2], [0, 0, 0], [1, 1, 1, 1], fprs=(0.5,))


def test_per_query_scores(result):
    assert result.first_rank.tolist() == [2, 0, 2]
    assert result.ap[[0, 2]].tolist() == [(1 / 2 + 2 / 3) / 2, 1 / 2]
    assert result.inp[[0, 2]].tolist() == [2 / 3, 1 / 2]
    assert result.unanswered.tolist() == [1]


def test_cmc_is_over_answered_queries(result):
    assert result.cmc(4).tolist() == [0, 1, 1, 1]


def test_metrics_are_in_percent_of_answered_queries():
    result = RankingResult(
        ap=np.array([1.0, 0.5, np.nan, 0.4, 0.1]), inp=np.array([1.0, 0.3, np.nan, 0.2, 0.1]),
        first_rank=np.array([1, 5, 0, 6, 10]), num_positives=np.array([1, 2, 0, 1, 1]), num_junk=np.zeros(5, dtype=int),
        num_gallery=20, num_cameras=2, ap_kind="step",
        roc=RocCurve(np.array([1e-3]), np.array([0.7]), np.ones(1), 9, 99),
    )  # fmt: skip
    assert result.metrics() == pytest.approx({
        "Rank-1": 25, "Rank-5": 50, "Rank-10": 100, "mAP": 50, "mINP": 40, "metric": 37.5, "TPR@FPR=1e-03": 70,
    })  # fmt: skip
    assert result.cmc(6).tolist() == [0.25, 0.25, 0.25, 0.25, 0.5, 0.75]


def test_trapezoid_is_never_larger():
    rng = np.random.default_rng(0)
    arguments = rng.random((40, 200)), rng.integers(0, 9, 40), rng.integers(0, 9, 200)
    step, trapezoid = (rank_matrix(*arguments, ap=ap) for ap in ("step", "trapezoid"))
    assert np.all(trapezoid.ap <= step.ap)
    assert trapezoid.mAP < step.mAP


def test_table_and_line(result):
    assert "Rank-1" in result.table()
    assert result.describe() == (
        "3 queries, 1 of them without a valid match; 4 gallery items; 2 cameras; 0 junk pairs removed"
    )
    without = rank_matrix(np.ones((1, 2)), [1], [1, 2])
    assert "cameras not known, so no junk removed" in without.describe()
    some = rank_matrix(np.ones((1, 4)), [1], [1, 1, 1, 2], [0], [0, 0, 1, 0])
    assert "2 junk pairs removed" in some.describe()


def test_everything_goes_to_json(result):
    read = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert read["counts"] == {"queries": 3, "unanswered": 1, "gallery": 4, "cameras": 2}
    assert read["queries"]["ap"][1] is None
    assert read["queries"]["unanswered"] == [1]
    assert read["roc"]["fpr"] == [0.5]
    assert list(read["metrics"])[-1] == "TPR@FPR=5e-01"


@pytest.mark.parametrize("change", [
    {"ap": np.array([0.5, 0.5])},
    {"ap": np.array([1.5, np.nan])},
    {"inp": np.array([0.0, np.nan])},
    {"ap": np.array([0.5])},
    {"first_rank": np.array([0, 0])},
    {"first_rank": np.array([6, 0])},
    {"first_rank": np.array([5, 0]), "num_junk": np.array([1, 0])},
    {"first_rank": np.array([1, 1])},
])  # fmt: skip
def test_contradictions_are_refused(change):
    fields = {
        "ap": np.array([0.5, np.nan]), "inp": np.array([0.5, np.nan]), "first_rank": np.array([2, 0]),
        "num_positives": np.array([1, 0]), "num_junk": np.array([0, 0]), "num_gallery": 5, "num_cameras": 2,
        "ap_kind": "step",
    }  # fmt: skip
    RankingResult(**fields | {"first_rank": np.array([5, 0])})
    with pytest.raises(ValueError, match=r"ap|inp|first_rank|one value per query"):
        RankingResult(**fields | change)
