"""Hours of a whole training, estimated from the time of a step."""

from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.benchmark import schedule
from dcal_reid.benchmark.operations import count_operations
from dcal_reid.engine import load_config
from dcal_reid.errors import InputError
from dcal_reid.modeling import DCAL

CONFIGS = Path(__file__).parents[2] / "configs"
DEMO = str(CONFIGS / "demo" / "dcal.yml")


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)


def test_hours_are_the_images_of_all_epochs_over_images_per_second(capsys, monkeypatch):
    monkeypatch.setattr(schedule, "_measure", lambda *args: (2e9, 50.0))
    config = str(CONFIGS / "veri" / "dcal_vitb.yml")
    images = 120 * (37778 // 64) * 64
    assert schedule.benchmark_schedule([config], device="cpu") == {config: images / 50 / 3600}
    row = next(line for line in capsys.readouterr().out.splitlines() if "dcal_vitb" in line)
    assert "80.2 / 96.9" in row and str(images) in row and f"{images * 2e-6:.2f}" in row


def test_the_step_is_that_of_the_configuration(capsys):
    hours = schedule.benchmark_schedule([DEMO], images=64, batch=4, repeats=1, device="cpu", amp="none")
    row = next(line for line in capsys.readouterr().out.splitlines() if "demo/dcal" in line)
    *_, operations, rate, _ = (cell.strip() for cell in row.strip("|").split("|"))
    cfg = load_config(DEMO)
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", 1000
    batch = {"images": torch.zeros(4, 3, *cfg.INPUT.SIZE_TRAIN, dtype=torch.uint8), "targets": torch.arange(4) // 2}
    model = build_model(cfg)
    counted = count_operations(lambda: sum(model(batch).values()).backward()) / 4
    total = schedule.images_to_train(cfg, 64)
    assert float(operations) == pytest.approx(counted * total / 1e15, abs=0.005)
    assert float(rate) == pytest.approx(total / hours[DEMO] / 3600, abs=0.006)  # two decimals are printed


def test_a_configuration_with_compilation_is_timed_compiled(monkeypatch, tmp_path):
    config, compiled = tmp_path / "compiled.yml", []
    config.write_text(f"_BASE_: {DEMO}\nMODEL:\n  COMPILE: True\n")
    monkeypatch.setattr(DCAL, "compile", lambda model: compiled.append(model))
    for path in (DEMO, str(config)):
        schedule.benchmark_schedule([path], images=64, batch=4, repeats=1, device="cpu", amp="none")
    assert len(compiled) == 1


def test_what_cannot_be_trained_is_not_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(schedule, "_measure", lambda *args: pytest.fail("timed"))
    config = tmp_path / "wrong.yml"
    config.write_text(f"_BASE_: {DEMO}\nSOLVER:\n  MAX_EPOCH: 0\n")
    with pytest.raises(InputError, match=r"SOLVER\.MAX_EPOCH is 0"):
        schedule.benchmark_schedule([str(config)], images=64, device="cpu")


def test_what_a_graph_cannot_hold_is_not_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(schedule, "_measure", lambda *args: pytest.fail("timed"))
    monkeypatch.setattr(schedule, "use_device", lambda name: "cuda")
    config = tmp_path / "compiled.yml"
    config.write_text(f"_BASE_: {DEMO}\nMODEL:\n  COMPILE: True\n")
    with pytest.raises(InputError, match=r"MODEL\.COMPILE is True; with SOLVER\.CUDA_GRAPH"):
        schedule.benchmark_schedule([str(config)], images=64, device="cuda", cuda_graph=True)


def test_distractors_of_another_data_set_take_their_part():
    config = str(CONFIGS / "ablation" / "table4_cub" / "external.yml")
    cfg = load_config(config)
    cfg.MODEL.BACKBONE.TIMM_KWARGS.embed_dim, cfg.MODEL.BACKBONE.TIMM_KWARGS.num_heads = 24, 3
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.DEVICE, cfg.INPUT.CROP.SIZE = False, "cpu", [32, 32]
    cfg.MODEL.HEADS.NUM_CLASSES = 1000
    operations, rate = schedule._measure(config, cfg, 4, 1)
    assert operations > 0 and rate > 0


def test_an_epoch_has_whole_batches_only():
    cfg = load_config(DEMO)
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.IMS_PER_BATCH = 3, 32
    assert schedule.images_to_train(cfg, 100) == 3 * 96


@pytest.mark.parametrize(
    ("config", "images", "message"),
    [
        (DEMO, None, r"training images of \('DemoReID',\) is not known; give it as --images"),
        (DEMO, 8, r"8 training images are less than a batch of 32"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_timed(config, images, message, monkeypatch):
    monkeypatch.setattr(schedule, "_measure", lambda *args: pytest.fail("timed"))
    with pytest.raises(InputError, match=message):
        schedule.benchmark_schedule([config], images=images, device="cpu")


def test_a_graph_without_a_gpu_is_refused_before_anything_is_timed(monkeypatch):
    monkeypatch.setattr(schedule, "_measure", lambda *args: pytest.fail("timed"))
    with pytest.raises(InputError, match=r"--cuda-graph is for a GPU"):
        schedule.benchmark_schedule([DEMO], images=64, device="cpu", cuda_graph=True)
