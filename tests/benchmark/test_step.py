"""The benchmark of the training step at a toy size, and the models that the benchmarks compare."""

import runpy
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from dcal_reid.benchmark import models, step
from dcal_reid.benchmark.models import CASES, Case, build_models, case_config, select_cases, synthetic_batch
from dcal_reid.benchmark.operations import count_operations
from dcal_reid.engine.check import check_config
from dcal_reid.engine.setup import load_config
from dcal_reid.engine.solver import build_optimizer
from dcal_reid.errors import InputError
from dcal_reid.modeling.backbones import input_size

REPOSITORY = Path(__file__).parents[2]
TINY = {"patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 3}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    monkeypatch.setattr(step, "matrix_product_rate", lambda device, dtype: 1e12)
    for name, recipe in (("toy", models._REID), ("toy-classes", models._CLASSIFICATION)):
        monkeypatch.setitem(CASES, name, Case(name, "vit_tiny_patch16_224", (64, 32), 8, 8, 8, recipe, TINY))


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize(("case", "amp"), [("toy", "none"), ("toy", "bf16"), ("toy-classes", "none")])
def test_step(capsys, case, amp):
    ratios = step.benchmark_step([case], repeats=1, amp=amp)[case]
    out = capsys.readouterr().out
    assert f"Training step, {case}, batch 8, read-out mean" in out
    assert all(f"| {way} " in out for way in ("ours", "timm, SA alone", "naive DCAL"))
    assert "fast-reid's vision transformer is left out" in out and "one large matrix product" in out
    # Twice SA's blocks, but of the last one CLS tokens alone, and GLCA.
    assert 1.2 < ratios["operations: ours / timm"] < 2.3
    assert 1 < ratios["memory: ours / timm"] < 4
    assert ratios["memory: ours / naive"] < 1


def test_a_step_changes_the_weights_as_the_optimiser_says():
    """The same model, batch and random numbers through a step written out here."""
    results = []
    for by_hand in (False, True):
        cfg = case_config(CASES["toy"])
        torch.manual_seed(0)
        model = models.PlainTimm(cfg)
        batch = synthetic_batch(CASES["toy"], None, "cpu")
        torch.manual_seed(1)
        if by_hand:
            optimizer = build_optimizer(cfg, model)
            sum(model.train()(batch).values()).backward()
            optimizer.step()
        else:
            step.TrainStep(cfg, model, batch)()
        results.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vit-b-256x128", "market1501/dcal_vitb"),
        ("vit-b-256x256", "veri/dcal_vitb"),
        ("deit-t-448x448", "cub/dcal_deit_t"),
        ("deit-s-256x128", "market1501/dcal_deit_s"),
        ("demo", "demo/dcal"),
    ],
)
def test_a_case_is_what_its_config_trains(name, config):
    case = case_config(CASES[name])
    trained = load_config(str(REPOSITORY / "configs" / f"{config}.yml"))
    assert input_size(case) == input_size(trained)
    assert case.SOLVER.OPT == trained.SOLVER.OPT
    for cfg in (case, trained):
        check_config(cfg)
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = False, "cpu", 0
    assert trained.MODEL == case.MODEL


def test_readout():
    assert case_config(CASES["demo"], readout="cls").MODEL.DCAL.GLCA.READOUT == "cls"
    assert [case.name for case in select_cases(["demo"])] == ["demo"]


def test_plain_timm_is_timms_model_on_the_pixels_of_the_weights():
    cfg = case_config(CASES["toy"])
    torch.manual_seed(0)
    plain = models.PlainTimm(cfg).eval()
    images = synthetic_batch(CASES["toy"], None, "cpu")["images"]
    reference = timm.create_model("vit_tiny_patch16_224", img_size=(64, 32), num_classes=0, **TINY).eval()
    reference.load_state_dict(plain.vit.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), reference((images / 255 - 0.5) / 0.5), rtol=1e-4, atol=1e-4)


def test_fastreids_vit_is_the_same_architecture_as_timms(monkeypatch):
    case = Case("toy-b", "vit_base_patch16_224", (32, 16), 8, 4, 4)
    found = build_models(case_config(case))
    batch = synthetic_batch(case, None, "cpu")
    before = batch["images"].clone()
    fastreid, timms = (found[name].eval() for name in ("fast-reid, SA alone", "timm, SA alone"))
    with torch.no_grad():
        operations = [count_operations(lambda m=model: m(batch["images"])) for model in (fastreid, timms)]
    assert operations[0] == operations[1]
    assert set(fastreid.train()(batch)) == {"loss_cls", "loss_triplet"}
    assert torch.equal(batch["images"], before)


def test_wrong_input():
    with pytest.raises(InputError, match="unknown case 'vit-z'; use one of vit-b-256x128"):
        step.benchmark_step(["vit-z"])
    with pytest.raises(InputError, match="3 images are no training batch of toy; give --batch 4 to 16"):
        synthetic_batch(CASES["toy"], 3, "cpu")
    with pytest.raises(InputError, match="18 images are no training batch"):
        synthetic_batch(CASES["toy"], 18, "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="finds no GPU"):
            step.benchmark_step(["toy"], device="cuda")


def test_command_line():
    parser = runpy.run_path(str(REPOSITORY / "tools" / "benchmark.py"))["parser"]()
    args = parser.parse_args(
        ["step", "--case", "demo", "--case", "deit-s-256x128", "--amp", "bf16", "--readout", "cls", "--batch", "16"]
    )
    assert vars(args) == {
        "benchmark": step.benchmark_step, "cases": ["demo", "deit-s-256x128"], "batch": 16, "repeats": 5,
        "device": "cpu", "amp": "bf16", "readout": "cls",
    }  # fmt: skip
    assert parser.parse_args(["step"]).cases is None
