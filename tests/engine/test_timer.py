import pytest

from dcal_reid.engine import timer
from dcal_reid.engine.timer import StepTimer


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(timer.time, "perf_counter", lambda: Clock.now)
    return Clock


@pytest.fixture
def warm(clock):
    """A running timer whose first steps ended at second 100."""
    result = StepTimer()
    result.start()
    clock.now = 100.0
    for _ in range(2):
        result.add(50.0)
    return result


def test_the_wait_for_steps_that_were_only_queued_counts(clock, warm):
    for _ in range(4):
        clock.now += 0.01
        warm.add(0.002)
    clock.now += 3.96  # the GPU runs the steps
    assert warm.lap() == pytest.approx({"time": 1.0, "data_time": 0.002})
    assert warm.lap() == {}


def test_the_first_steps_and_what_lies_between_epochs_do_not_count(clock, warm):
    clock.now += 1
    warm.add(0.5)
    warm.pause()
    clock.now += 1000  # an evaluation
    warm.start()
    clock.now += 3
    warm.add(1.5)
    assert warm.lap() == {"time": 2.0, "data_time": 1.0}
    warm.pause()
    clock.now += 1000
    assert warm.summary() == "2 steps in 0:00:04, 2.0000 s each"


def test_a_line_at_the_end_of_an_epoch_has_its_steps_only(clock, warm):
    clock.now += 1
    warm.add(0.0)
    warm.pause()
    clock.now += 1000
    assert warm.lap()["time"] == 1
    warm.start()
    clock.now += 2
    warm.add(0.0)
    assert warm.lap()["time"] == 2


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_too_few_steps_tell_nothing(clock, steps):
    short = StepTimer()
    short.start()
    for _ in range(steps):
        clock.now += 1
        short.add(0.1)
    assert short.lap() == {} and short.summary() == ""
