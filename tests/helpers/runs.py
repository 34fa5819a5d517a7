"""Training runs in tests, and what they leave."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch
from fastreid.utils.env import seed_all_rng
from helpers.forks import run_forked

from dcal_reid.engine import Trainer

REPOSITORY = Path(__file__).parents[2]


def run(cfg, resume=False, hook=None):
    """Train in this process. Returns the trainer and the last results."""
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    if hook is not None:
        build = trainer._build_hooks
        trainer._build_hooks = lambda: [*build(), hook]
    return trainer, trainer.train()


def command(cfg, *arguments, launcher=()):
    """The command line that a user would train with."""
    config = Path(cfg.OUTPUT_DIR).with_suffix(".yml")
    config.write_text(cfg.dump())
    tool = str(REPOSITORY / "tools" / "train_net.py")
    return [sys.executable, *launcher, tool, "--config-file", str(config), *arguments]


def start(cfg, *arguments):
    """Train through the command line, and wait until it ends."""
    return subprocess.run(command(cfg, *arguments), capture_output=True, text=True, timeout=300)


def start_forked(cfg, *arguments, processes=1):
    """Like ``start``, but faster: in one process, or in several as if torchrun had started them."""
    if processes == 1:
        return run_forked(command(cfg, *arguments)[1:])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GROUP_WORLD_SIZE": "1"}
    world = meeting | dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    ranks = [world | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)) for rank in range(processes)]
    return run_forked(command(cfg, *arguments)[1:], ranks)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_until_checkpoint(cfg, *arguments):
    """Train through the command line. Returns the process, still running, once there is a checkpoint to resume from."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(cfg, *arguments), **pipes)
    while not Path(cfg.OUTPUT_DIR, "last_checkpoint").is_file() and process.poll() is None:
        time.sleep(0.02)
    return process


def weights(folder, name="model_final", kind="model"):
    return torch.load(Path(folder, f"{name}.pth"), weights_only=True)[kind]


def lines(folder):
    return [json.loads(line) for line in Path(folder, "metrics.json").read_text().splitlines()]


def lines_without_clocks(folder):
    return [{k: v for k, v in line.items() if "time" not in k} for line in lines(folder)]


def assert_same_runs(cfg, other):
    """Weights and metrics must be the same, to the bit."""
    for name in ("model_final", "model_best"):
        expected, actual = (weights(one.OUTPUT_DIR, name) for one in (cfg, other))
        assert expected.keys() == actual.keys()
        assert all(torch.equal(value, actual[key]) for key, value in expected.items())
    assert lines_without_clocks(cfg.OUTPUT_DIR) == lines_without_clocks(other.OUTPUT_DIR)
