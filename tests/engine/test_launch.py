"""Several processes on the CPU, through the command line as a user would start them."""

from pathlib import Path

import pytest
import torch
from runs import lines, start


def table(output):
    return output[output.rindex("Results") :].splitlines()[1:4]


def last_metrics(cfg):
    return {k: v for k, v in lines(cfg.OUTPUT_DIR)[-1].items() if k in ("mAP", "mINP", "Rank-1", "Rank-5")}


def test_two_processes_train_and_any_number_gives_the_same_metrics(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    trained = start(run_cfg, "--num-gpus", "2", "--dist-url", "auto")
    assert trained.returncode == 0, trained.stderr
    assert "2 process(es) on cpu" in trained.stdout

    weights = ("MODEL.WEIGHTS", str(Path(run_cfg.OUTPUT_DIR, "model_final.pth")))
    tables = [table(trained.stdout)]
    for processes in ("1", "2", "3"):
        evaluated = start(run_cfg, "--eval-only", "--num-gpus", processes, "--dist-url", "auto", *weights)
        assert evaluated.returncode == 0, evaluated.stderr
        tables.append(table(evaluated.stdout))
    assert tables[1:] == tables[:-1]


def test_classification_counts_every_image_once_in_any_number_of_processes(class_cfg):
    """12 test images: with 5 processes the last ones have fewer, or none."""
    class_cfg.SOLVER.MAX_EPOCH = 1
    trained = start(class_cfg)
    assert trained.returncode == 0, trained.stderr
    weights = ("MODEL.WEIGHTS", str(Path(class_cfg.OUTPUT_DIR, "model_final.pth")))
    predictions = Path(class_cfg.OUTPUT_DIR, "evaluation", "ImageFolderFGVC", "predictions.csv")
    expected = [line.split(",")[0] for line in predictions.read_text().splitlines()]
    assert len(expected) == 13
    for processes in ("2", "5"):
        predictions.unlink()
        evaluated = start(class_cfg, "--eval-only", "--num-gpus", processes, "--dist-url", "auto", *weights)
        assert evaluated.returncode == 0, evaluated.stderr
        assert table(evaluated.stdout) == table(trained.stdout)
        assert [line.split(",")[0] for line in predictions.read_text().splitlines()] == expected


def test_torchrun(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = start(run_cfg, launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert "2 process(es) on cpu" in result.stdout and last_metrics(run_cfg)["mAP"] > 0


def test_a_killed_run_of_two_processes_resumes(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 2
    whole = start(run_cfg, "--num-gpus", "2", "--dist-url", "auto")
    assert whole.returncode == 0, whole.stderr
    expected = torch.load(Path(run_cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["model"]

    # What a kill in the second epoch leaves: the checkpoint of the first.
    run_cfg.OUTPUT_DIR += "_killed"
    run_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    first = start(run_cfg, "--num-gpus", "2", "--dist-url", "auto")
    assert first.returncode == 0, first.stderr
    folder = Path(run_cfg.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000.pth")
    (folder / "model_final.pth").unlink()
    resumed = start(run_cfg, "--resume", "--num-gpus", "2", "--dist-url", "auto")
    assert resumed.returncode == 0 and "Training from iteration 3 of 6 on" in resumed.stdout, resumed.stderr
    actual = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(value, actual[name]) for name, value in expected.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SOLVER.MAX_EPOCHS", "3"], "did you mean SOLVER.MAX_EPOCH?"),
        (["MODEL.DCAL.GLCA.RATIO", "3.0"], "RATIO is 3.0"),
        (["DATASETS.CSV.PATH", "nothing.csv"], "nothing.csv"),
        (["SOLVER.IMS_PER_BATCH", "64"], "64"),
        (["--eval-only", "MODEL.WEIGHTS", "nothing.pth"], "'nothing.pth' not found"),
        (["INPUT.SIZE_TRAIN", "[60,32]", "INPUT.SIZE_TEST", "[60,32]"], "60x32"),
    ],
)
def test_a_wrong_input_is_one_line(run_cfg, arguments, words):
    result = start(run_cfg, *arguments)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ") and words in line


def test_a_broken_image_ends_the_training_with_one_line(run_cfg, crops):
    (crops / "0_0_0.png").write_bytes(b"not an image")
    result = start(run_cfg)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ") and "0_0_0.png" in line and "Traceback" not in result.stdout


def test_a_wrong_input_in_several_processes_has_no_traceback(run_cfg):
    result = start(run_cfg, "--num-gpus", "2", "--dist-url", "auto", "DATASETS.CSV.PATH", "nothing.csv")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "error: " in result.stderr and "nothing.csv" in result.stderr
