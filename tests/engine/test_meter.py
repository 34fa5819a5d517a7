import pytest
import torch

from dcal_reid.engine.meter import MeanMeter


def test_means_since_the_last_flush():
    meter = MeanMeter()
    assert meter.flush() == {}
    for value in (1.0, 2.0, 6.0):
        meter.add({"a": torch.tensor(value), "b": torch.tensor(-value)})
    assert meter.flush() == {"a": 3.0, "b": -3.0}
    meter.add({"a": torch.tensor(5.0), "b": torch.tensor(0.0)})
    assert meter.flush() == {"a": 5.0, "b": 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_names_what_is_not_finite(bad):
    meter = MeanMeter()
    meter.add({"total_loss": torch.tensor(bad), "fine": torch.tensor(1.0)})
    meter.add({"total_loss": torch.tensor(1.0), "fine": torch.tensor(1.0)})
    with pytest.raises(FloatingPointError, match=r"^total_loss became"):
        meter.check_finite()


def test_does_not_change_what_it_was_given():
    meter, value = MeanMeter(), torch.tensor(1.0)
    meter.add({"a": value})
    meter.add({"a": value})
    assert value == 1.0
