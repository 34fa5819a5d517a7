"""The hooks around the steps of a run; for stopping see test_stop.py."""

from pathlib import Path

import pytest
import torch
from fastreid.engine.train_loop import HookBase
from fastreid.utils.env import seed_all_rng
from helpers.runs import lines, run

from dcal_reid.data.demo import write_demo_dataset
from dcal_reid.engine import Trainer


def test_the_learning_rate_reaches_both_ends(run_cfg):
    seen = []

    class Record(HookBase):
        def after_step(self):
            lr, of_heads = sorted({group["lr"] for group in self.trainer.optimizer.param_groups})
            assert of_heads == pytest.approx(2 * lr)
            seen.append(lr)

    run_cfg.SOLVER.ETA_MIN_LR, run_cfg.SOLVER.HEADS_LR_FACTOR = 1e-4, 2.0
    run(run_cfg, hook=Record())
    assert max(seen) == seen[2] == 0.01 and seen[-1] == pytest.approx(1e-4) and len(seen) == 9


@pytest.mark.parametrize("period", [0, 2])
def test_the_last_epoch_is_evaluated_whatever_the_period(run_cfg, period):
    """fast-reid divides by a period of 0 once training is over."""
    run_cfg.TEST.EVAL_PERIOD = period
    _, results = run(run_cfg)
    evaluated = [line["iteration"] for line in lines(run_cfg.OUTPUT_DIR) if "mAP" in line]
    assert evaluated[0] == (5 if period else 8) and evaluated[-1] == 8
    assert lines(run_cfg.OUTPUT_DIR)[-1]["mAP"] == results["mAP"]


def test_the_best_checkpoint_has_its_own_metric(run_cfg):
    """fast-reid can store the metric of an earlier evaluation, and the last one does not always count."""
    values = iter([10.0, 30.0, 20.0])

    class Scripted(Trainer):
        @classmethod
        def test(cls, cfg, model):
            return {"mAP": 1.0, "metric": next(values)}

    Path(run_cfg.OUTPUT_DIR).mkdir()
    trainer = Scripted(run_cfg)
    trainer.resume_or_load(False)
    trainer.train()
    best = torch.load(Path(run_cfg.OUTPUT_DIR, "model_best.pth"), weights_only=True)
    final = torch.load(Path(run_cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert (best["place"]["epochs"], best["best_metric"]) == (2, 30.0)
    assert (final["place"]["epochs"], final["best_metric"], final["best_epoch"]) == (3, 30.0, 1)


def test_old_checkpoints_are_removed_but_not_the_best(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.SOLVER.CHECKPOINT_PERIOD, run_cfg.SOLVER.CHECKPOINT_KEEP = 5, 1, 2
    folder = Path(run_cfg.OUTPUT_DIR)
    folder.mkdir()
    # A copy with a name of its own, and a checkpoint left by a longer run.
    others = {"model_0001_good.pth", "model_0099.pth"}
    for name in others:
        (folder / name).touch()
    run(run_cfg)
    found = {path.name for path in folder.glob("*.pth")}
    assert found == {"model_0002.pth", "model_0003.pth", "model_best.pth", "model_final.pth"} | others


@pytest.fixture
def scripted(run_cfg):
    """A function that trains with given evaluation results."""

    def train(*results):
        results = iter(results)

        class Scripted(Trainer):
            @classmethod
            def test(cls, cfg, model):
                return next(results)

        Path(run_cfg.OUTPUT_DIR).mkdir()
        seed_all_rng(run_cfg.SEED)
        trainer = Scripted(run_cfg)
        trainer.resume_or_load(False)
        trainer.train()
        return trainer

    return train


def test_the_first_of_several_test_sets_decides_which_is_the_best(run_cfg, scripted, crops):
    write_demo_dataset(crops, train_identities=1, test_identities=2, distractors=0, junk=0)
    run_cfg.DATASETS.TESTS = ("CSVReID", "DemoReID")
    values = [(20.0, 90.0), (30.0, 10.0), (30.0, 50.0)]
    trainer = scripted(*({"CSVReID": {"metric": one}, "DemoReID": {"metric": other}} for one, other in values))
    # Of two equal ones the earlier.
    assert (trainer.best_metric, trainer.best_epoch) == (30.0, 1)
    evaluated = [line for line in lines(run_cfg.OUTPUT_DIR) if "CSVReID/metric" in line]
    assert {(line["CSVReID/metric"], line["DemoReID/metric"]) for line in evaluated} == set(values)


def test_an_epoch_without_an_evaluation_is_no_best(run_cfg, scripted):
    """The metric of the previous epoch is still stored."""
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.TEST.EVAL_PERIOD, run_cfg.SOLVER.CHECKPOINT_PERIOD = 4, 2, 1
    scripted({"metric": 10.0}, {"metric": 5.0})
    best = torch.load(Path(run_cfg.OUTPUT_DIR, "model_best.pth"), weights_only=True)
    assert best["place"]["epochs"] == 2
    names = {path.name for path in Path(run_cfg.OUTPUT_DIR).glob("model_*.pth")}
    assert names == {"model_0000.pth", "model_0001.pth", "model_0002.pth", "model_best.pth", "model_final.pth"}


@pytest.mark.parametrize(
    ("period", "evaluations", "ends", "evaluated"), [(4, 1, [2, 3, 5, 7, 8], [2, 5, 8]), (2, 0, [1, 3, 5, 7, 8], [8])]
)
def test_a_line_has_the_means_of_its_steps(run_cfg, tmp_path, scripted, period, evaluations, ends, evaluated):
    """Whether a period or an evaluation ends the line, within an epoch of three steps or at its end."""
    run_cfg.SOLVER.LOG_PERIOD = 1
    scripted(*[{"metric": 1.0}] * 3)
    steps = [line["total_loss"] for line in lines(run_cfg.OUTPUT_DIR)]
    run_cfg.SOLVER.LOG_PERIOD, run_cfg.TEST.EVAL_PERIOD = period, evaluations
    run_cfg.OUTPUT_DIR = str(tmp_path / "periods")
    scripted(*[{"metric": 1.0}] * 3)
    found = lines(run_cfg.OUTPUT_DIR)
    assert len(steps) == 9 and [line["iteration"] for line in found] == ends
    for first, line in zip([0, *(end + 1 for end in ends)], found, strict=False):
        mean = sum(steps[first : line["iteration"] + 1]) / (line["iteration"] + 1 - first)
        assert line["total_loss"] == pytest.approx(mean, rel=1e-5)
    assert [line["iteration"] for line in found if "metric" in line] == evaluated
