import copy
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.engine.train_loop import HookBase
from fastreid.utils.events import EventStorage, get_event_storage
from helpers.runs import lines, lines_without_clocks, run, weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcal_reid.data import build_distractor_loader
from dcal_reid.engine import Trainer, evaluate
from dcal_reid.errors import InputError


class Kill(HookBase):
    """Stop the run in the middle of an epoch, as a kill would."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_step(self):
        if self.trainer.iter == self.iteration:
            raise KeyboardInterrupt


def test_a_run_leaves_checkpoints_metrics_and_events(run_cfg):
    trainer, results = run(run_cfg)
    assert trainer.iters_per_epoch == 3 and trainer.cfg.MODEL.HEADS.NUM_CLASSES == 6
    folder = Path(run_cfg.OUTPUT_DIR)
    assert {p.name for p in folder.glob("*.pth")} == {"model_0001.pth", "model_best.pth", "model_final.pth"}
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"

    metrics = lines(folder)
    assert metrics[-1]["iteration"] == 8 and metrics[-1]["mAP"] == results["mAP"]
    assert {line["iteration"] for line in metrics if "mAP" in line} >= {2, 5, 8}
    for name in ("total_loss", "loss_pwca", "glca/ce", "sa/triplet", "sa/accuracy", "sa/loss_weight", "lr"):
        assert name in metrics[-1], name
    events = EventAccumulator(str(folder)).Reload()
    assert [round(e.value, 3) for e in events.Scalars("mAP")][-1] == round(results["mAP"], 3)


def test_training_changes_every_weight(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    Path(run_cfg.OUTPUT_DIR).mkdir()
    trainer = Trainer(run_cfg)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    same = [n for n, p in trainer.model.named_parameters() if p.requires_grad and torch.equal(p, before[n])]
    assert same == []


@pytest.mark.parametrize(("killed_at", "ema"), [(4, False), (7, False), (4, True)])
def test_a_killed_and_resumed_run_ends_in_the_same_weights(run_cfg, killed_at, ema, tmp_path):
    """Bit for bit, with stochastic depth, random pairs and augmentation."""
    run_cfg.SOLVER.EMA.ENABLED = ema
    run(run_cfg)
    other = copy.deepcopy(run_cfg)
    other.OUTPUT_DIR = str(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run(other, hook=Kill(killed_at))
    torch.manual_seed(12345)
    trainer, _ = run(other, resume=True)
    assert trainer.start_epoch == killed_at // 3
    for kind in ["model", "ema"][: 1 + ema]:
        expected, actual = (weights(cfg.OUTPUT_DIR, kind=kind) for cfg in (run_cfg, other))
        assert all(torch.equal(value, actual[name]) for name, value in expected.items())

    assert lines_without_clocks(run_cfg.OUTPUT_DIR) == lines_without_clocks(other.OUTPUT_DIR)


def test_the_same_seed_gives_the_same_run_and_another_does_not(run_cfg, tmp_path):
    run_cfg.SOLVER.MAX_EPOCH = 1
    finals = []
    for number, (seed, workers) in enumerate([(0, 0), (0, 2), (1, 0)]):
        cfg = copy.deepcopy(run_cfg)
        cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR = seed, workers, str(tmp_path / str(number))
        run(cfg)
        finals.append(weights(cfg.OUTPUT_DIR)["heads.sa.weight"])
    assert torch.equal(finals[0], finals[1]) and not torch.equal(finals[0], finals[2])


@pytest.mark.usefixtures("half_precision")
def test_a_resumed_run_follows_its_configuration(run_cfg):
    """A new learning rate takes effect, and half precision may be switched on."""
    run(run_cfg)
    run_cfg.SOLVER.MAX_EPOCH, run_cfg.SOLVER.BASE_LR, run_cfg.SOLVER.ETA_MIN_LR = 4, 0.5, 0.25
    run_cfg.SOLVER.AMP.ENABLED, run_cfg.SOLVER.AMP.DTYPE = True, "fp16"
    trainer, _ = run(run_cfg, resume=True)
    assert trainer.start_epoch == 3
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.25) == lines(run_cfg.OUTPUT_DIR)[-1]["lr"]


@pytest.mark.parametrize(("key", "value"), [("OPT", "AdamW"), ("HEADS_LR_FACTOR", 3.0)])
def test_an_optimiser_that_does_not_fit_the_checkpoint_is_one_line(run_cfg, key, value):
    run_cfg.SOLVER.MAX_EPOCH = 1
    run(run_cfg)
    run_cfg.SOLVER[key] = value
    with pytest.raises(
        InputError, match=r"has another optimizer than the configuration.*continue with the config\.yaml"
    ):
        run(run_cfg, resume=True)


def test_resuming_a_complete_run_evaluates_it(run_cfg):
    """fast-reid raises an AttributeError."""
    _, results = run(run_cfg)
    before = weights(run_cfg.OUTPUT_DIR)
    trainer, again = run(run_cfg, resume=True)
    assert again == results and trainer.start_epoch == 3
    assert all(torch.equal(v, weights(run_cfg.OUTPUT_DIR)[k]) for k, v in before.items())


def test_evaluating_the_checkpoint_gives_the_runs_figures(run_cfg):
    _, results = run(run_cfg)
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    assert evaluate(run_cfg) == results


def test_gradients_are_clipped_by_their_global_norm(run_cfg):
    norms = []

    class Record(HookBase):
        def after_step(self):
            gradients = [p.grad for p in self.trainer.model.parameters() if p.grad is not None]
            norms.append(torch.nn.utils.get_total_norm(gradients))

    run_cfg.SOLVER.MAX_EPOCH = 1
    run_cfg.SOLVER.CLIP_GRADIENTS.ENABLED, run_cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = True, 0.1
    run(run_cfg, hook=Record())
    assert all(float(norm) == pytest.approx(0.1, rel=1e-3) for norm in norms)


def write_demo_fgvc(root):
    rng = np.random.default_rng(0)
    for folder in ("train", "val"):
        for name in ("one", "two"):
            (root / "demo-fgvc" / folder / name).mkdir(parents=True)
            for number in range(5):
                image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
                image.save(root / "demo-fgvc" / folder / name / f"{number}.png")


@pytest.mark.parametrize("parts", [1, 2])
def test_distractors_from_another_data_set(run_cfg, tmp_path, parts):
    """Resumable to the bit, like everything else."""
    run_cfg.MODEL.DCAL.PWCA.DISTRACTORS, run_cfg.MODEL.DCAL.PWCA.EXTERNAL = "external", ("DemoFGVC",)
    run_cfg.SOLVER.ACCUMULATE = parts
    write_demo_fgvc(tmp_path / "crops")
    run(run_cfg)
    other = copy.deepcopy(run_cfg)
    other.OUTPUT_DIR = str(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run(other, hook=Kill(4))
    run(other, resume=True)
    expected, actual = weights(run_cfg.OUTPUT_DIR), weights(other.OUTPUT_DIR)
    assert all(torch.equal(value, actual[name]) for name, value in expected.items())


def test_too_few_distractors_are_refused(run_cfg):
    run_cfg.MODEL.DCAL.PWCA.DISTRACTORS, run_cfg.MODEL.DCAL.PWCA.EXTERNAL = "external", ("CSVReID",)
    run_cfg.SOLVER.IMS_PER_BATCH = 24
    assert len(next(iter(build_distractor_loader(run_cfg)))["images"]) == 24
    run_cfg.SOLVER.IMS_PER_BATCH = 26
    with pytest.raises(InputError, match=r"EXTERNAL is .* 24 training images"):
        build_distractor_loader(run_cfg)


def test_a_broken_distractor_is_replaced_by_another(run_cfg, crops):
    run_cfg.MODEL.DCAL.PWCA.DISTRACTORS, run_cfg.MODEL.DCAL.PWCA.EXTERNAL = "external", ("CSVReID",)
    run_cfg.SOLVER.IMS_PER_BATCH, run_cfg.DATALOADER.BROKEN_IMAGES = 24, "skip"
    (crops / "0_0_0.png").write_bytes(b"broken")
    batch = next(iter(build_distractor_loader(run_cfg)))
    assert batch["broken_paths"] == [str(crops / "0_0_0.png")] and len(batch["images"]) == 24


def test_averaged_weights_are_what_is_evaluated(run_cfg):
    """Statistics and weights are averaged by timm's warm-up formula, and --eval-only uses the average."""
    names = ("heads.sa.weight", "heads.sa.bottleneck.0.running_mean", "heads.sa.bottleneck.0.running_var")
    history = []

    class Record(HookBase):
        def after_step(self):
            state = self.trainer.model.state_dict()
            history.append([state[name].clone() for name in names])

    run_cfg.SOLVER.EMA.ENABLED = True
    _, results = run(run_cfg, hook=Record())
    averaged, last = (weights(run_cfg.OUTPUT_DIR, kind=kind) for kind in ("ema", "model"))
    for name, (expected, *others) in zip(names, zip(*history, strict=True), strict=True):
        for step, value in enumerate(others, 1):
            decay = 1 - (1 + step) ** (-2 / 3)
            expected = decay * expected + (1 - decay) * value
        torch.testing.assert_close(averaged[name], expected)
        assert torch.equal(last[name], others[-1])
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    run_cfg.SOLVER.EMA.ENABLED = False
    assert evaluate(run_cfg) == results


def test_a_batch_in_parts_has_the_mean_of_their_gradients(run_cfg):
    run_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    run_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    run_cfg.SOLVER.ACCUMULATE = 2
    Path(run_cfg.OUTPUT_DIR).mkdir()
    trainer = Trainer(run_cfg)
    trainer.model.train()
    batch = next(iter(trainer.data_loader))
    expected = []
    for half in (slice(0, 4), slice(4, 8)):
        sum(trainer.model({"images": batch["images"][half], "targets": batch["targets"][half]}).values()).backward()
    for parameter in trainer.model.parameters():
        expected.append(None if parameter.grad is None else parameter.grad / 2)
    trainer._batches = iter([batch])
    with EventStorage():
        trainer.storage = get_event_storage()
        trainer.iter = 0
        trainer.run_step()
    for parameter, gradient in zip(trainer.model.parameters(), expected, strict=True):
        assert (gradient is None) == (parameter.grad is None)
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient)


def test_a_warm_up_that_does_not_end_is_told(run_cfg, caplog):
    logging.getLogger("dcal_reid").propagate = True
    Trainer(run_cfg)
    assert "WARMUP_ITERS" not in caplog.text
    run_cfg.SOLVER.WARMUP_ITERS = 9
    Trainer(run_cfg)
    assert "SOLVER.WARMUP_ITERS is 9, but training has 9 iterations" in caplog.text


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_trains_and_evaluates_in_half_precision(run_cfg, dtype):
    run_cfg.SOLVER.MAX_EPOCH = 1
    run_cfg.SOLVER.AMP.ENABLED, run_cfg.SOLVER.AMP.DTYPE = True, dtype
    _, results = run(run_cfg)
    assert 0 < results["mAP"] <= 100


def test_a_loss_that_is_not_a_number_stops_before_the_checkpoint(run_cfg):
    class Poison(HookBase):
        def after_step(self):
            if self.trainer.iter == 3:
                with torch.no_grad():
                    self.trainer.model.heads["sa"].weight.fill_(float("nan"))

    with pytest.raises(InputError, match=r"sa/ce, .* became infinite .* first with the images /.*png, /.*png; lower"):
        run(run_cfg, hook=Poison())
    assert all(value.isfinite().all() for value in weights(run_cfg.OUTPUT_DIR, "model_last").values())


def test_a_broken_training_image_is_named_or_replaced(run_cfg, crops, caplog):
    (crops / "0_0_0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0_0_0.png"):
        run(run_cfg)
    run_cfg.DATALOADER.BROKEN_IMAGES = "skip"
    logging.getLogger("dcal_reid").propagate = True
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        run(run_cfg)
    assert "0_0_0.png cannot be decoded" in caplog.text


def test_starting_anew_over_a_run_warns(run_cfg, caplog):
    run_cfg.SOLVER.MAX_EPOCH = 1
    run(run_cfg)
    logging.getLogger("dcal_reid").propagate = True
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        run(run_cfg)
    assert "will be replaced" in caplog.text
    assert Path(run_cfg.OUTPUT_DIR, "metrics.1.json").exists()


def test_what_a_new_run_did_not_write_is_not_resumed(run_cfg):
    """It would be the checkpoint of the previous run, with the configuration of the new one."""
    run_cfg.SOLVER.MAX_EPOCH = 1
    run(run_cfg)

    class Fails(HookBase):
        def after_step(self):
            raise MemoryError

    run_cfg.SOLVER.BASE_LR *= 2
    with pytest.raises(MemoryError):
        run(run_cfg, hook=Fails())
    trainer, _ = run(run_cfg, resume=True)
    assert trainer.start_iter == 0


def test_the_last_checkpoint_is_written_after_all(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    run(run_cfg)
    folder = Path(run_cfg.OUTPUT_DIR)
    final = folder / "model_final.pth"
    last = weights(folder)
    final.rename(folder / "model_last.pth")
    (folder / "last_checkpoint").write_text("model_last.pth")
    run(run_cfg, resume=True)
    assert all(torch.equal(v, weights(folder)[k]) for k, v in last.items())
    assert not (folder / "model_last.pth").exists()
    assert run(run_cfg, resume=True)[0].start_epoch == 1


def test_broken_distractors_are_told_of(run_cfg, tmp_path, caplog):
    run_cfg.MODEL.DCAL.PWCA.DISTRACTORS, run_cfg.MODEL.DCAL.PWCA.EXTERNAL = "external", ("DemoFGVC",)
    run_cfg.DATALOADER.BROKEN_IMAGES, run_cfg.SOLVER.MAX_EPOCH = "skip", 1
    write_demo_fgvc(tmp_path / "crops")
    broken = tmp_path / "crops" / "demo-fgvc" / "train" / "one" / "0.png"
    broken.write_bytes(b"broken")
    logging.getLogger("dcal_reid").propagate = True
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        trainer, _ = run(run_cfg)
    assert trainer.broken_paths == {str(broken)} and f"{broken} cannot be decoded" in caplog.text


def test_a_run_goes_on_only_with_its_own_identities(run_cfg, crops):
    """With the same number of other identities, all shapes would fit."""
    run_cfg.SOLVER.MAX_EPOCH = 1
    run(run_cfg)
    before = (crops / "labels.csv").read_text()
    (crops / "labels.csv").write_text(before.replace("png,0,", "png,zzz,"))
    run_cfg.SOLVER.MAX_EPOCH = 2
    with pytest.raises(InputError, match=r"from other training images than there are now, .* with MODEL\.WEIGHTS"):
        run(run_cfg, resume=True)
    (crops / "labels.csv").write_text(before)
    run(run_cfg, resume=True)
