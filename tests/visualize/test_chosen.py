import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.visualize.chosen import chosen_queries, mistakes_first


def test_orders(evaluator):
    ap = evaluator.result.ap
    worst, best, spread = (chosen_queries(evaluator, order=order, count=5) for order in ("worst", "best", "spread"))
    ascending = np.sort(ap[1:])
    assert ap[worst].tolist() == ascending[:5].tolist()
    assert ap[best].tolist() == ascending[:-6:-1].tolist()
    assert ap[spread].tolist() == ascending[[0, 10, 19, 28, 38]].tolist()
    assert len(chosen_queries(evaluator, count=99)) == 39
    assert chosen_queries(evaluator, order="spread", count=99) == chosen_queries(evaluator, count=99)
    assert chosen_queries(evaluator, order="spread", count=1) == worst[:1]


def test_positions_and_identities(evaluator):
    assert chosen_queries(evaluator, queries=[7, 0, 3], count=1) == [7, 0, 3]
    pids = evaluator.features().pids
    wanted = sorted(set(pids[1:40].tolist()))[:2]
    found = chosen_queries(evaluator, identities=wanted, count=99)
    assert sorted(found) == [query for query in range(1, 40) if pids[query] in wanted]
    assert evaluator.result.ap[found].tolist() == sorted(evaluator.result.ap[found])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "first"}, "--order is 'first'; use one of worst, best, spread"),
        ({"queries": [3, 40]}, "--queries names 40; there are the queries 0 to 39"),
        ({"identities": [99]}, "--identities names 99, of which no query has a match; there are"),
    ],
)
def test_choices_that_do_not_exist(evaluator, options, message):
    with pytest.raises(InputError, match=message):
        chosen_queries(evaluator, **options)


def test_half_of_the_predictions_shown_are_mistakes(classified):
    assert mistakes_first(classified, 4) == [1, 4, 0, 5]
    assert mistakes_first(classified, 5) == [1, 4, 0, 2, 5]
    assert sorted(mistakes_first(classified, 99)) == list(range(6))
