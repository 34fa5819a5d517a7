"""A process that dies under torchrun: the job goes on where it may be started again, and ends where it may not."""

import copy
import os
import signal
from pathlib import Path

import pytest
from runs import assert_same_runs, start_forked, start_until_checkpoint

# More of them: KILLS=20 pytest tests/engine/test_elastic.py
KILLS = int(os.environ.get("KILLS", "2"))


def torchrun(restarts):
    job = ("--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts))
    return ("-m", "torch.distributed.run", *job)


def kill(agent, rank):
    """SIGKILL to one of the processes that torchrun has started."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    environments = {child: Path(f"/proc/{child}/environ").read_text().split("\0") for child in children}
    (child,) = [child for child, variables in environments.items() if f"RANK={rank}" in variables]
    os.kill(int(child), signal.SIGKILL)


def ended(agent, seconds):
    """Wait for torchrun's end. Returns what it has printed."""
    try:
        return agent.communicate(timeout=seconds)
    finally:
        agent.terminate()  # of one that hangs, its processes too


@pytest.fixture
def long_cfg(run_cfg, monkeypatch):
    """Long enough that it is in the middle of training when it has a first checkpoint."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums depend on the number of threads
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.TEST.EVAL_PERIOD = 20, 5
    return run_cfg


def test_a_job_goes_on_after_any_of_its_processes_was_killed(long_cfg):
    """The other one has lost its peer in the middle of a step, and is ended; both are started again."""
    whole = start_forked(long_cfg, processes=2)
    assert whole.returncode == 0, whole.stderr
    for number in range(KILLS):
        cfg = copy.deepcopy(long_cfg)
        cfg.OUTPUT_DIR += f"_killed_{number}"
        agent = start_until_checkpoint(cfg, "--resume", launcher=torchrun(restarts=1))
        kill(agent, rank=number % 2)
        out, err = ended(agent, seconds=300)
        assert agent.returncode == 0, err
        first, second = [line for line in out.splitlines() if "Training from iteration" in line]
        assert "iteration 0 of 60" in first and "iteration 0 of 60" not in second
        assert_same_runs(long_cfg, cfg)


def test_a_job_that_may_not_start_again_ends_when_a_process_is_killed(long_cfg):
    agent = start_until_checkpoint(long_cfg, launcher=torchrun(restarts=0))
    kill(agent, rank=1)
    _, err = ended(agent, seconds=60)
    assert agent.returncode == 1 and "Signal 9 (SIGKILL) received" in err
