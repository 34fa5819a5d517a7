"""A run that was stopped or killed, or failed, ends after resuming like one that was not: to the bit."""

import copy
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from fastreid.engine.train_loop import HookBase
from helpers.forks import fork
from helpers.runs import assert_same_runs, command, run, start_forked

from dcal_reid.engine import Trainer
from dcal_reid.engine.stop import StopRequest
from dcal_reid.errors import InputError

# For more kills: KILLS=50 pytest tests/engine/test_stop.py -k any_moment
KILLS = int(os.environ.get("KILLS", "4"))
# As on macOS, which does not say who has sent a signal.
MACOS = "import os, signal, sys\nvars(signal).pop('sigwaitinfo', None)\n"
ON_MACOS = ("-c", f"{MACOS}import runpy\ndel sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name='__main__')")


@pytest.fixture
def other_cfg(run_cfg, tmp_path):
    cfg = copy.deepcopy(run_cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    return cfg


class Signal(HookBase):
    """Send this process a signal in the middle of a step's hooks."""

    def __init__(self, iteration, number=signal.SIGTERM):
        self.iteration, self.number = iteration, number

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), self.number)


# Three steps per epoch: within the first epoch, within another, in an epoch's last step.
@pytest.mark.parametrize(("iteration", "done"), [(0, 1), (4, 5), (5, 6)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_between_two_steps(run_cfg, other_cfg, iteration, done, number, capsys):
    run(run_cfg)
    with pytest.raises(SystemExit) as stop:
        run(other_cfg, hook=Signal(iteration, number))
    assert stop.value.code == 128 + number
    assert "a second signal stops at once" in capsys.readouterr().err
    torch.manual_seed(12345)
    trainer, _ = run(other_cfg, resume=True)
    assert trainer.start_iter == done
    assert_same_runs(run_cfg, other_cfg)


def test_a_signal_in_the_last_step_lets_the_run_end(run_cfg):
    _, results = run(run_cfg, hook=Signal(8))
    assert results["mAP"] > 0 and Path(run_cfg.OUTPUT_DIR, "model_final.pth").is_file()


def test_the_log_lines_of_long_periods_are_the_same_too(run_cfg, other_cfg):
    """They are means over steps before and after the stop."""
    for cfg in (run_cfg, other_cfg):
        cfg.SOLVER.LOG_PERIOD, cfg.TEST.EVAL_PERIOD = 4, 2
    run(run_cfg)
    with pytest.raises(SystemExit):
        run(other_cfg, hook=Signal(1))
    with pytest.raises(SystemExit):
        run(other_cfg, resume=True, hook=Signal(6))
    run(other_cfg, resume=True)
    assert_same_runs(run_cfg, other_cfg)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_failed_evaluation_costs_no_step(run_cfg, other_cfg, epoch, monkeypatch):
    run(run_cfg)
    test, calls = Trainer.test, []

    def fail(cfg, model):
        calls.append(1)
        if len(calls) > epoch:
            raise MemoryError
        return test(cfg, model)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Trainer, "test", staticmethod(fail))
        run(other_cfg)
    trainer, _ = run(other_cfg, resume=True)
    assert (trainer.start_epoch, trainer.start_iter) == (epoch, 3 * (epoch + 1))
    assert_same_runs(run_cfg, other_cfg)


def test_another_batch_size_goes_on_at_the_same_place_of_the_epoch(run_cfg):
    with pytest.raises(SystemExit):
        run(run_cfg, hook=Signal(4))
    run_cfg.SOLVER.IMS_PER_BATCH = 4
    before = Path(run_cfg.OUTPUT_DIR, "metrics.json").read_text()
    trainer, _ = run(run_cfg, resume=True)
    assert trainer.iters_per_epoch == 6 and trainer.start_iter == 10
    # Its iterations are different.
    assert Path(run_cfg.OUTPUT_DIR, "metrics.1.json").read_text() == before


def test_a_second_signal_acts_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.agreed(1)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_whole(run_cfg, other_cfg, monkeypatch):
    """To the writer of checkpoints a full disk is a limit on the size of a file."""
    resource = pytest.importorskip("resource")
    run(run_cfg)
    save, saved = Trainer.save, []

    def full_after_two(self, *args, **kwargs):
        saved.append(1)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(saved) > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        try:
            save(self, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    with (
        monkeypatch.context() as patch,
        pytest.raises(InputError, match=r"cannot be written: .*; make room, and continue"),
    ):
        patch.setattr(Trainer, "save", full_after_two)
        run(other_cfg)
    assert not list(Path(other_cfg.OUTPUT_DIR).glob(".*.tmp"))
    run(other_cfg, resume=True)
    assert_same_runs(run_cfg, other_cfg)


def test_a_kill_at_any_moment_loses_nothing(run_cfg, other_cfg):
    for cfg in (run_cfg, other_cfg):
        cfg.SOLVER.MAX_EPOCH = 2 + KILLS // 4

    def trained(cfg, seconds=None):
        """Whether the run finished before it was killed."""
        process = fork(command(cfg, "--resume")[1:])
        process.join(seconds)
        if ended := process.exitcode is not None:
            assert process.exitcode == 0
        process.kill()
        process.join()
        return ended

    assert trained(run_cfg)
    moments, killed, longest = random.Random(0), 0, 4.0
    while killed < KILLS:
        if not trained(other_cfg, moments.uniform(0.3, longest)):
            killed += 1
            continue
        assert_same_runs(run_cfg, other_cfg)
        # The run finished in spite of the kills: try again, with less time between them.
        other_cfg.OUTPUT_DIR += "+"
        longest *= 0.8
    assert trained(other_cfg)
    assert_same_runs(run_cfg, other_cfg)


def test_the_command_line_saves_on_sigterm_and_goes_on(run_cfg, other_cfg):
    """In two processes, which must stop after the same step."""
    for cfg in (run_cfg, other_cfg):
        cfg.SOLVER.MAX_EPOCH, cfg.DATALOADER.NUM_WORKERS = 4, 0
    assert start_forked(run_cfg, processes=2).returncode == 0
    started = command(other_cfg, "--num-gpus", "2", "--dist-url", "auto")
    stopped = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = Path(other_cfg.OUTPUT_DIR, "metrics.json")
    # After the first line, both processes have begun to train.
    while not (metrics.is_file() and metrics.stat().st_size) and stopped.poll() is None:
        time.sleep(0.05)
    stopped.terminate()
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert "everything is saved; --resume continues from there" in out and "Traceback" not in err
    assert not Path(other_cfg.OUTPUT_DIR, "model_final.pth").exists()
    assert start_forked(other_cfg, "--resume", processes=2).returncode == 0
    assert_same_runs(run_cfg, other_cfg)


@pytest.mark.parametrize(
    ("number", "launcher"), [(signal.SIGTERM, ()), (signal.SIGINT, ()), (signal.SIGTERM, ON_MACOS)]
)
def test_a_signal_to_the_whole_group_leaves_the_workers_alone(run_cfg, number, launcher):
    """Ctrl-C in a terminal, ``timeout`` and systemd send it like this: the main process still waits for the workers'
    batches."""
    run_cfg.DATALOADER.NUM_WORKERS, run_cfg.SOLVER.MAX_EPOCH = 2, 1000
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    stopped = subprocess.Popen(command(run_cfg, launcher=launcher), **pipes, process_group=0)
    metrics = Path(run_cfg.OUTPUT_DIR, "metrics.json")
    while not (metrics.is_file() and metrics.stat().st_size) and stopped.poll() is None:
        time.sleep(0.05)
    os.killpg(stopped.pid, number)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + number, err
    assert "everything is saved; --resume continues from there" in out and "Traceback" not in err
    assert err.count("a second signal stops at once") == 1


@pytest.mark.parametrize(
    ("begin", "end", "code", "said"),
    [
        ("import sys\n", "raise MemoryError\n", 1, "MemoryError\n"),
        (MACOS, "os.kill(os.getpid(), signal.SIGKILL)\n", -signal.SIGKILL, ""),
    ],
)
def test_workers_end_with_a_process_that_fails_or_is_killed(run_cfg, begin, end, code, said):
    """Workers leave signals to the main process, but its own signals must reach them. They hold its output open."""
    run_cfg.DATALOADER.NUM_WORKERS = 1
    python, _, _, config = command(run_cfg)
    script = (
        f"{begin}"
        "from dcal_reid.data import build_train_loader\n"
        "from dcal_reid.engine import load_config\n"
        "batches = iter(build_train_loader(load_config(sys.argv[1])))\n"
        "next(batches)\n"
        f"{end}"
    )
    failed = subprocess.run([python, "-c", script, config], capture_output=True, text=True, timeout=120)
    assert failed.returncode == code and failed.stderr.endswith(said), failed.stderr


def test_several_processes_get_their_time_to_save(monkeypatch):
    """The time starts anew once they have agreed to stop."""
    ended = []
    monkeypatch.setattr("dcal_reid.engine.stop._PATIENCE", 0.5)
    monkeypatch.setattr("dcal_reid.engine.stop.os._exit", ended.append)
    monkeypatch.setattr("dcal_reid.engine.stop.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("dcal_reid.engine.stop.comm.all_gather", lambda value: [value, 0])
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.4)
            assert request.agreed(10)
            time.sleep(0.4)
            assert not ended
            time.sleep(0.3)
            assert ended == [128 + signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
