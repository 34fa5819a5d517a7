from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from dcal_reid.engine.meter import MeanMeter
from dcal_reid.errors import InputError


def test_means_since_the_last_flush():
    meter = MeanMeter()
    assert meter.flush() == {}
    for value in (1.0, 2.0, 6.0):
        meter.add({"total_loss": torch.tensor(value), "b": torch.tensor(-value)})
    assert meter.flush() == {"total_loss": 3.0, "b": -3.0}
    meter.add({"total_loss": torch.tensor(5.0), "b": torch.tensor(0.0)})
    assert meter.flush() == {"total_loss": 5.0, "b": 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_names_what_is_not_finite(bad):
    meter = MeanMeter()
    for number, value in enumerate([1.0, bad, 1.0, bad]):
        meter.add({"total_loss": torch.tensor(value), "fine": torch.tensor(1.0)}, [f"{number}.jpg", "other.jpg"])
    with pytest.raises(InputError, match=r"^total_loss became .* 4 steps, first with the images 1.jpg, other.jpg;"):
        meter.check_finite()


def test_a_checkpoint_between_two_log_lines_keeps_the_sums():
    meter, resumed = MeanMeter(), MeanMeter()
    meter.add({"total_loss": torch.tensor(1.0)})
    resumed.load_state_dict(meter.state_dict())
    for one in (meter, resumed):
        one.add({"total_loss": torch.tensor(4.0)})
        assert one.flush() == {"total_loss": 2.5}


def test_a_checkpoint_of_several_processes_in_one(monkeypatch):
    meter = MeanMeter()
    sums = [{"total_loss": torch.tensor(value)} for value in (1.0, 3.0)]
    meter.load_state_dict({"sums": sums, "count": 1})
    assert meter.flush() == {"total_loss": 2.0}
    monkeypatch.setattr("dcal_reid.engine.meter.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("dcal_reid.engine.meter.comm.get_rank", lambda: 1)
    meter.load_state_dict({"sums": sums, "count": 1})
    monkeypatch.undo()
    assert meter.flush() == {"total_loss": 3.0}


def _flush_what_was_restored(rank, folder):
    """In a group that has a backend only for GPUs, and claims to be NCCL."""
    backend_of = dist.get_backend
    dist.get_backend = lambda group=None: "nccl" if group in (None, dist.group.WORLD) else backend_of(group)
    dist.init_process_group("cuda:gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    meter = MeanMeter()
    meter.load_state_dict({"sums": [{"total_loss": torch.tensor(2.0 * rank)} for rank in range(2)], "count": 1})
    Path(folder, str(rank)).write_text(str(meter.flush()["total_loss"]))
    dist.destroy_process_group()


def test_of_processes_on_gpus_that_resume_between_a_step_and_its_log_line(tmp_path):
    """No step has brought the sums back to the device, and NCCL has no backend for the CPU."""
    multiprocessing.spawn(_flush_what_was_restored, (tmp_path,), nprocs=2)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["1.0", "1.0"]


def test_does_not_change_what_it_was_given():
    meter, value = MeanMeter(), torch.tensor(1.0)
    meter.add({"total_loss": value})
    meter.add({"total_loss": value})
    assert value == 1.0
