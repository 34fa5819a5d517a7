"""The result of an evaluation, query by query, and the metrics computed from it."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from .roc import RocCurve

__all__ = ["RankingResult"]


@dataclass(frozen=True)
class RankingResult:
    """Scores of every query, in the order of the queries; queries without a positive are kept, with NaN and rank 0.

    Raises:
        ValueError: inconsistent arrays; this means a bug in our code, not an invalid input.
    """

    ap: np.ndarray  # (Q,) average precision, NaN without a positive
    inp: np.ndarray  # (Q,) inverse negative penalty, NaN without a positive
    first_rank: np.ndarray  # (Q,) rank of the closest positive, from 1; 0 without a positive
    num_positives: np.ndarray  # (Q,) gallery items of the same identity from another camera
    num_junk: np.ndarray  # (Q,) gallery items of the same identity and the same camera, removed
    num_gallery: int
    num_cameras: int  # 0: cameras are unknown
    ap_kind: str  # step | trapezoid
    roc: RocCurve | None = None

    def __post_init__(self):
        arrays = (self.ap, self.inp, self.first_rank, self.num_positives, self.num_junk)
        if any(array.shape != (self.num_query,) for array in arrays):
            raise ValueError(f"one value per query needed, got shapes {[array.shape for array in arrays]}")
        answered = self.num_positives > 0
        for name, values in (("ap", self.ap), ("inp", self.inp)):
            if not np.array_equal(np.isfinite(values), answered):
                raise ValueError(f"{name} must be a number exactly where a query has a positive")
            if np.any((values[answered] <= 0) | (values[answered] > 1)):
                raise ValueError(f"{name} must be above 0 and at most 1")
        last = self.num_gallery - self.num_positives - self.num_junk + 1
        if np.any((self.first_rank < answered) | (self.first_rank > last * answered)):
            raise ValueError("first_rank must lie between 1 and the number of negatives + 1, 0 without a positive")

    @property
    def num_query(self) -> int:
        return len(self.ap)

    @property
    def answered(self) -> np.ndarray:
        """(Q,) bool, the queries that have a positive. All means are over these."""
        return self.num_positives > 0

    @property
    def unanswered(self) -> np.ndarray:
        """Positions of the queries without a positive."""
        return np.flatnonzero(~self.answered)

    @property
    def mAP(self) -> float:
        return float(self.ap[self.answered].mean())

    @property
    def mINP(self) -> float:
        return float(self.inp[self.answered].mean())

    def cmc(self, max_rank: int = 50) -> np.ndarray:
        """(max_rank,) the share of queries whose closest positive is at rank 1, 2, ... or before.

        If the gallery is smaller, the curve is constant beyond its end.
        """
        hits = np.bincount(self.first_rank[self.answered], minlength=max_rank + 1)
        return np.cumsum(hits)[1 : max_rank + 1] / np.count_nonzero(self.answered)

    def metrics(self) -> "OrderedDict[str, float]":
        """Metrics in percent, by fast-reid's names. ``metric``, the mean of mAP and Rank-1, selects the best model."""
        cmc = self.cmc(10)
        metrics = OrderedDict((f"Rank-{r}", 100 * float(cmc[r - 1])) for r in (1, 5, 10))
        metrics["mAP"] = 100 * self.mAP
        metrics["mINP"] = 100 * self.mINP
        metrics["metric"] = (metrics["mAP"] + metrics["Rank-1"]) / 2
        if self.roc is not None:
            for fpr, tpr in zip(self.roc.fpr, self.roc.tpr, strict=True):
                metrics[f"TPR@FPR={fpr:.0e}"] = 100 * float(tpr)
        return metrics

    def counts(self) -> "OrderedDict[str, int]":
        return OrderedDict(
            queries=self.num_query,
            unanswered=len(self.unanswered),
            gallery=self.num_gallery,
            cameras=self.num_cameras,
        )

    def describe(self) -> str:
        """One line for the log: what the metrics are computed over."""
        cameras = f"{self.num_cameras} cameras" if self.num_cameras else "cameras not known, so no junk removed"
        return (
            f"{self.num_query} queries, {len(self.unanswered)} of them without a valid match; "
            f"{self.num_gallery} gallery items; {cameras}; {int(self.num_junk.sum())} junk pairs removed"
        )

    def table(self) -> str:
        """The metrics as a Markdown table with one row."""
        metrics = self.metrics()
        return tabulate([list(metrics.values())], headers=list(metrics), tablefmt="pipe", floatfmt=".2f")

    def as_dict(self) -> dict:
        """Everything, ready for JSON; NaN becomes None."""

        def plain(values):
            return [None if value != value else value for value in values.tolist()]

        return {
            "metrics": dict(self.metrics()),
            "counts": dict(self.counts()),
            "ap_kind": self.ap_kind,
            "cmc": self.cmc().tolist(),
            "roc": None if self.roc is None else self.roc.as_dict(),
            "queries": {
                "ap": plain(self.ap),
                "inp": plain(self.inp),
                "first_rank": plain(self.first_rank),
                "num_positives": plain(self.num_positives),
                "num_junk": plain(self.num_junk),
                "unanswered": plain(self.unanswered),
            },
        }
