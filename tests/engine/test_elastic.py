"""When a process dies under torchrun, the job continues if restarts are left, and ends otherwise."""

import copy
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.runs import assert_same_runs, command, start_forked

# For more kills: KILLS=20 pytest tests/engine/test_elastic.py
KILLS = int(os.environ.get("KILLS", "2"))
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


def start(cfg, restarts):
    """Train in two processes with torchrun, which may restart them that many times."""
    job = ("--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts))
    launched = command(cfg, "--resume", launcher=("-m", "torch.distributed.run", *job))
    return subprocess.Popen(launched, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(agent, cfg, rank, attempt=0):
    """Send SIGKILL to a process of torchrun's attempt, once this attempt has written a checkpoint."""
    process = until(agent, lambda: find(agent, rank, attempt))
    last = Path(cfg.OUTPUT_DIR, "last_checkpoint")
    before = last.read_text() if last.is_file() else ""
    until(agent, lambda: last.is_file() and last.read_text() != before)
    os.kill(process, signal.SIGKILL)


def find(agent, rank, attempt):
    wanted = {f"RANK={rank}", f"TORCHELASTIC_RESTART_COUNT={attempt}"}
    for process in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if wanted <= set(Path(f"/proc/{process}/environ").read_text().split("\0")):
                return int(process)
    return None


def until(agent, condition):
    while not (found := condition()):
        assert agent.poll() is None, agent.communicate()[1]
        time.sleep(0.02)
    return found


def ended(agent, seconds):
    """Wait until torchrun ends, and return what it has printed."""
    try:
        return agent.communicate(timeout=seconds)
    finally:
        agent.terminate()  # if it hangs, this ends its processes too


@pytest.fixture
def long_cfg(run_cfg, monkeypatch):
    """Long enough to be in the middle of training at the first checkpoint, and after every kill."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums depend on the number of threads
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.TEST.EVAL_PERIOD = 10 * KILLS, 5
    return run_cfg


def test_a_job_goes_on_after_any_of_its_processes_was_killed(long_cfg):
    """The other process loses its peer in the middle of a step and is ended; both are restarted each time."""
    whole = start_forked(long_cfg, processes=2)
    assert whole.returncode == 0, whole.stderr
    cfg = copy.deepcopy(long_cfg)
    cfg.OUTPUT_DIR += "_killed"
    agent = start(cfg, restarts=KILLS)
    for number in range(KILLS):
        kill(agent, cfg, rank=number % 2, attempt=number)
    out, err = ended(agent, seconds=300)
    assert agent.returncode == 0, err
    assert "2 process(es) on cpu" in out
    first, *others = [line for line in out.splitlines() if "Training from iteration" in line]
    assert f"iteration 0 of {30 * KILLS}" in first and len(others) == KILLS
    assert not any("iteration 0 of" in line for line in others)
    assert_same_runs(long_cfg, cfg)


def test_a_job_that_may_not_start_again_ends_when_a_process_is_killed(long_cfg):
    agent = start(long_cfg, restarts=0)
    kill(agent, long_cfg, rank=1)
    _, err = ended(agent, seconds=60)
    assert agent.returncode == 1 and "Signal 9 (SIGKILL) received" in err
