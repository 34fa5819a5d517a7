"""Several processes on the CPU, through the command line as a user would start them."""

import copy
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.runs import (
    assert_same_runs,
    command,
    free_port,
    start,
    start_forked,
    start_until_checkpoint,
    weights,
)

from dcal_reid.engine import argument_parser, main
from dcal_reid.engine.launch import _join
from dcal_reid.errors import InputError


def table(output):
    return output[output.rindex("Results") :].splitlines()[1:4]


def test_two_processes_train_and_any_number_gives_the_same_metrics(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    trained = start(run_cfg, "--num-gpus", "2")
    assert trained.returncode == 0, trained.stderr
    assert "2 process(es) on cpu" in trained.stdout

    weights = ("MODEL.WEIGHTS", str(Path(run_cfg.OUTPUT_DIR, "model_final.pth")))
    tables = [table(trained.stdout)]
    for processes in (1, 3):
        evaluated = start_forked(run_cfg, "--eval-only", *weights, processes=processes)
        assert evaluated.returncode == 0, evaluated.stderr
        tables.append(table(evaluated.stdout))
    assert tables[1:] == tables[:-1]


def test_classification_counts_every_image_once_in_any_number_of_processes(class_cfg):
    """12 test images: with 5 processes, the last ones have fewer or none."""
    class_cfg.SOLVER.MAX_EPOCH = 1
    trained = start_forked(class_cfg)
    assert trained.returncode == 0, trained.stderr
    weights = ("MODEL.WEIGHTS", str(Path(class_cfg.OUTPUT_DIR, "model_final.pth")))
    predictions = Path(class_cfg.OUTPUT_DIR, "evaluation", "ImageFolderFGVC", "predictions.csv")
    expected = [line.split(",")[0] for line in predictions.read_text().splitlines()]
    assert len(expected) == 13
    predictions.unlink()
    evaluated = start_forked(class_cfg, "--eval-only", *weights, processes=5)
    assert evaluated.returncode == 0, evaluated.stderr
    assert table(evaluated.stdout) == table(trained.stdout)
    assert [line.split(",")[0] for line in predictions.read_text().splitlines()] == expected


# A batch has two identities x two images for each process; with 24 images, an epoch has 3 steps or 2.
# The sum of three gradients depends on their order, which PyTorch changes after the first step of each start.
@pytest.mark.parametrize(("processes", "batch", "place", "tolerance"), [(2, 8, "3 of 6", 0.0), (3, 12, "2 of 4", 1e-5)])
def test_a_killed_run_of_several_processes_resumes(run_cfg, processes, batch, place, tolerance):
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.SOLVER.IMS_PER_BATCH, run_cfg.SOLVER.CHECKPOINT_PERIOD = 2, batch, 1
    whole = start_forked(run_cfg, processes=processes)
    assert whole.returncode == 0, whole.stderr
    expected = weights(run_cfg.OUTPUT_DIR)

    # A kill in the second epoch leaves the checkpoint of the first.
    folder = Path(run_cfg.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000.pth")
    (folder / "model_final.pth").unlink()
    resumed = start_forked(run_cfg, "--resume", processes=processes)
    assert resumed.returncode == 0 and f"Training from iteration {place} on" in resumed.stdout, resumed.stderr
    torch.testing.assert_close(weights(folder), expected, rtol=tolerance, atol=tolerance)


def at_once(*commands):
    """Run commands side by side, and return what each has printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(one, **pipes) for one in commands]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(commands), outputs
    return [out for out, _ in outputs]


def test_several_machines_by_fast_reids_flags_and_by_torchrun(run_cfg, monkeypatch):
    """Two machines with a process each are two processes, whichever way they are started."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums depend on the number of threads
    run_cfg.SOLVER.MAX_EPOCH = 1
    assert start_forked(run_cfg, processes=2).returncode == 0
    flags, agents = copy.deepcopy(run_cfg), copy.deepcopy(run_cfg)
    flags.OUTPUT_DIR += "_flags"
    url = f"tcp://127.0.0.1:{free_port()}"
    options = ("--num-gpus", "1", "--num-machines", "2", "--dist-url", url, "--machine-rank")
    outputs = at_once(*(command(flags, *options, rank) for rank in "01"))
    assert "2 process(es) on cpu" in outputs[0]
    assert_same_runs(run_cfg, flags)

    agents.OUTPUT_DIR += "_agents"
    meeting = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port")
    launcher = ("-m", "torch.distributed.run", *meeting, str(free_port()), "--node-rank")
    at_once(*(command(agents, launcher=(*launcher, rank)) for rank in "01"))
    assert_same_runs(run_cfg, agents)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_a_process_that_dies_ends_the_job(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 50
    parent = start_until_checkpoint(run_cfg, "--num-gpus", "2", "--dist-url", "auto")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 2 and "error: process 1 was killed by SIGKILL; continue with --resume" in err
    torch.load(Path(run_cfg.OUTPUT_DIR, "model_last.pth"), weights_only=True)


def test_gradients_are_those_of_one_process_where_the_mathematics_allows_it(run_cfg):
    """Batch norm, triplets and pairs are limited to the images of one process; without them a step is the same."""
    run_cfg.SOLVER.MAX_EPOCH = 1
    run_cfg.MODEL.HEADS.WITH_BNNECK = False
    run_cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    run_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    run_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    found = []
    for processes in (1, 2):
        cfg = copy.deepcopy(run_cfg)
        cfg.OUTPUT_DIR += str(processes)
        assert start_forked(cfg, processes=processes).returncode == 0
        found.append(weights(cfg.OUTPUT_DIR))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)


def test_triplets_alone_train_in_several_processes(run_cfg):
    """The classifiers then have no gradients, and a second step would wait for them."""
    run_cfg.SOLVER.MAX_EPOCH = 1
    run_cfg.MODEL.LOSSES.NAME = ("TripletLoss",)
    trained = start_forked(run_cfg, processes=2)
    assert trained.returncode == 0, trained.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SOLVER.MAX_EPOCHS", "3"], "did you mean SOLVER.MAX_EPOCH?"),
        (["MODEL.DCAL.GLCA.RATIO", "3.0"], "RATIO is 3.0"),
        (["DATASETS.CSV.PATH", "nothing.csv"], "nothing.csv"),
        (["SOLVER.IMS_PER_BATCH", "64"], "64"),
        (["--num-gpus", "0"], "--num-gpus is 0"),
        (["--eval-only", "MODEL.WEIGHTS", "nothing.pth"], "'nothing.pth' not found"),
        (["INPUT.SIZE_TRAIN", "[60,32]", "INPUT.SIZE_TEST", "[60,32]"], "60x32"),
    ],
)
def test_a_wrong_input_is_one_line(run_cfg, arguments, words):
    result = start_forked(run_cfg, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ") and words in line


def test_a_broken_image_ends_the_training_with_one_line(run_cfg, crops):
    (crops / "0_0_0.png").write_bytes(b"not an image")
    result = start_forked(run_cfg)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ") and "0_0_0.png" in line and "Traceback" not in result.stdout


def test_a_wrong_input_in_several_processes_has_no_traceback(run_cfg):
    result = start_forked(run_cfg, "--num-gpus", "2", "--dist-url", "auto", "DATASETS.CSV.PATH", "nothing.csv")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: " in result.stderr and "nothing.csv" in result.stderr


def test_more_processes_than_gpus_under_torchrun(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="LOCAL_RANK is 1, but this machine has 1 GPUs; lower --nproc-per-node"):
        _join(1, 2, "cuda")


@pytest.mark.parametrize(("machines", "rank"), [("1", "1"), ("2", "2"), ("2", "-1")])
def test_a_machine_has_one_of_their_numbers(run_cfg, machines, rank):
    """Otherwise it would wait for hours for a process that never comes."""
    options = ("--num-machines", machines, "--dist-url", "tcp://127.0.0.1:1", f"--machine-rank={rank}")
    with pytest.raises(InputError, match=f"--machine-rank is {rank}; .* the last {int(machines) - 1}$"):
        main(argument_parser().parse_args(command(run_cfg, *options)[2:]))


def test_machines_must_know_where_to_meet(run_cfg):
    with pytest.raises(InputError, match="--dist-url does not say where they meet; give it as tcp://HOST:PORT"):
        main(argument_parser().parse_args(command(run_cfg, "--num-gpus", "1", "--num-machines", "2")[2:]))
