import time

import numpy as np
import pytest

from dcal_reid.benchmark.measure import describe_environment, measure, print_table


def test_time_is_the_median_and_ways_take_turns():
    order, pauses = [], iter([0.0, 0.05, 0.0])

    def slow():
        order.append("slow")
        time.sleep(next(pauses))

    found = measure({"slow": slow, "fast": lambda: order.append("fast")}, repeats=3)
    assert order == ["slow", "fast"] * 3
    assert found["slow"].seconds < 0.04
    assert found["slow"].runs == 3


def test_memory_is_the_peak_above_what_was_there():
    there = np.ones(20_000_000)

    def take():
        return np.ones(5_000_000).sum() + there[0]

    memory = measure({"take": take}, repeats=2)["take"].memory
    if memory is None:
        pytest.skip("peak memory is known on Linux only")
    assert 38e6 < memory < 80e6


def test_results_are_kept():
    assert measure({"a": lambda: 7}, 1)["a"].result == 7


def test_environment_and_table(capsys):
    assert "NumPy" in describe_environment() and "\n" not in describe_environment()
    print_table("Title", ["way", "seconds"], [["ours", 1.234], ["other", None]])
    assert "| ours  |      1.23 |" in capsys.readouterr().out
