import pytest
import torch

from dcal_reid.evaluation.threads import for_blocks


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 7, 1001])
def test_results_are_in_the_order_of_the_blocks(threads, count, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert for_blocks(lambda start: -start, count, 10) == [-start for start in range(0, count, 10)]
