"""Choose the queries and the test images to show."""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..evaluation import ClassificationResult, DCALReidEvaluator, RankingResult

__all__ = ["ORDERS", "chosen_queries", "mistakes_first", "spread"]

ORDERS = ("worst", "best", "spread")


def chosen_queries(
    evaluator: DCALReidEvaluator,
    *,
    order: str = "worst",
    queries: Sequence[int] = (),
    identities: Sequence[int] = (),
    count: int = 6,
) -> list[int]:
    """Choose queries of an evaluation; returns their positions among its queries.

    Args:
        evaluator: after its evaluation.
        order: worst | best (by average precision) | spread (evenly from the worst to the best), among queries that have
            a match.
        queries: these positions instead, whether they have a match or not.
        identities: only queries of these.
        count: how many; does not apply to ``queries``, all of which are taken.

    Raises:
        InputError: an order, a query or an identity that does not exist.
    """
    data, result = evaluator.features(), evaluator.result
    if order not in ORDERS:
        raise InputError(f"--order is {order!r}; use one of {', '.join(ORDERS)}")
    wrong = [query for query in queries if not 0 <= query < result.num_query]
    if wrong:
        raise InputError(f"--queries names {wrong[0]}; there are the queries 0 to {result.num_query - 1}")
    if queries:
        return list(queries)
    by_ap, pids = _worst_first(result), data.pids[data.query]
    unknown = sorted(set(identities) - set(pids[by_ap].tolist()))
    if unknown:
        known = sorted(set(pids[by_ap].tolist()))
        raise InputError(
            f"--identities names {unknown[0]}, of which no query has a match; there are {len(known)} identities, "
            f"{known[0]} to {known[-1]}"
        )
    if identities:
        by_ap = by_ap[np.isin(pids[by_ap], list(identities))]
    if order == "spread":
        return spread(by_ap, min(count, len(by_ap)))
    return (by_ap if order == "worst" else by_ap[::-1])[:count].tolist()


def _worst_first(result: RankingResult) -> np.ndarray:
    """The queries that have a match, from the worst to the best average precision."""
    answered = np.flatnonzero(result.answered)
    return answered[np.argsort(result.ap[answered], kind="stable")]


def mistakes_first(result: ClassificationResult, count: int) -> list[int]:
    """``count`` images, half of them mistakes if there are enough, each half evenly spread from sure to unsure
    predictions."""
    order = np.argsort(-result.probabilities[:, 0], kind="stable")
    wrong, right = (order[(result.rank[order, 0] == 1) == correct] for correct in (False, True))
    mistakes = min(len(wrong), max(count // 2, count - len(right)))
    return spread(wrong, mistakes) + spread(right, min(len(right), count - mistakes))


def spread(values: np.ndarray, count: int) -> list:
    """``count`` of the values, evenly spread from the first to the last."""
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)].tolist() if count else []
