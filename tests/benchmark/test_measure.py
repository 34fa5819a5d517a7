import ctypes
import time

import numpy as np
import pytest
import torch

from dcal_reid.benchmark.measure import describe_environment, measure, print_table, use_device
from dcal_reid.errors import InputError


def test_time_is_the_median_and_ways_take_turns():
    order, pauses = [], iter([0.0, 0.05, 0.0])

    def slow():
        order.append("slow")
        time.sleep(next(pauses))

    found = measure({"slow": slow, "fast": lambda: order.append("fast")}, repeats=3)
    assert order == ["slow", "fast"] * 3
    assert found["slow"].seconds < 0.04


def test_memory_is_the_peak_above_what_was_there():
    there = np.ones(20_000_000)

    def take():
        return np.ones(5_000_000).sum() + there[0]

    memory = measure({"take": take}, repeats=2)["take"].memory
    if memory is None:
        pytest.skip("peak memory is known on Linux only")
    assert 38e6 < memory < 80e6


@pytest.mark.parametrize("error", [TypeError, OSError, AttributeError])
def test_memory_is_not_known_everywhere(error, monkeypatch):
    """Windows and macOS have no such way to ask for it."""

    def no_library(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert measure({"a": lambda: 7}, 1)["a"].memory is None


def test_no_run_at_all_is_refused():
    with pytest.raises(InputError, match="--repeats is 0; give at least 1"):
        measure({"a": lambda: 7}, 0)


def test_a_device_is_there_and_is_the_one_that_is_waited_for(monkeypatch):
    assert use_device("cpu") == "cpu"
    used = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [use_device(name) for name in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    assert used == [0, 0, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="'cuda' but PyTorch finds no GPU"):
        use_device("cuda")
    with pytest.raises(InputError, match="'mps'; use auto, cpu, cuda"):
        use_device("mps")


def test_results_are_kept():
    assert measure({"a": lambda: 7}, 1)["a"].result == 7


def test_environment_and_table(capsys):
    assert "NumPy" in describe_environment() and "\n" not in describe_environment()
    print_table("Title", ["way", "seconds"], [["ours", 1.234], ["other", None]])
    assert "| ours  |      1.23 |" in capsys.readouterr().out
