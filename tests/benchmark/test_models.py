"""The models that the benchmarks compare."""

from pathlib import Path

import pytest
import timm
import torch

from dcal_reid.benchmark import models
from dcal_reid.benchmark.models import CASES, Case, build_models, case_config, select_cases, synthetic_batch
from dcal_reid.benchmark.operations import count_operations
from dcal_reid.engine.check import check_config
from dcal_reid.engine.setup import load_config
from dcal_reid.errors import InputError
from dcal_reid.modeling.backbones import input_size

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("toys")


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
    reference = timm.create_model(
        "vit_tiny_patch16_224", img_size=(64, 32), num_classes=0, **CASES["toy"].kwargs
    ).eval()
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


def test_all_models_of_a_case_take_its_batch_and_the_naive_one_has_our_weights(capsys):
    found = build_models(case_config(CASES["toy"]))
    assert list(found) == ["ours", "timm, SA alone", "naive DCAL"]
    assert "fast-reid's vision transformer is left out" in capsys.readouterr().out
    ours, naive = ({id(parameter) for parameter in found[name].parameters()} for name in ("ours", "naive DCAL"))
    assert ours == naive
    for model in found.values():
        assert all(loss.isfinite() for loss in model.train()(synthetic_batch(CASES["toy"], 4, "cpu")).values())


@pytest.mark.parametrize("size", [None, 5, 16])
def test_a_batch_holds_two_images_of_each_identity(size):
    batch, again = (synthetic_batch(CASES["toy"], size, "cpu") for _ in range(2))
    number = size or CASES["toy"].cpu_batch
    assert batch["images"].shape == (number, 3, 64, 32) and batch["images"].dtype == torch.uint8
    assert batch["targets"].tolist() == [index // 2 for index in range(number)]
    assert torch.equal(batch["images"], again["images"]) and batch["images"].float().std() > 50


def test_without_names_all_cases_are_selected():
    assert [case.name for case in select_cases(None)] == [case.name for case in select_cases([])] == list(CASES)
    with pytest.raises(InputError, match=r"unknown case 'demos'; use one of vit-b-256x128, .*, demo"):
        select_cases(["demo", "demos"])


@pytest.mark.parametrize(
    ("has", "amp", "enabled"), [(True, "bf16", True), (True, "none", False), (False, "none", False)]
)
def test_precision_is_what_the_configuration_has(monkeypatch, has, amp, enabled):
    monkeypatch.setattr(models, "has_half_precision", lambda device, dtype: has)
    assert case_config(CASES["toy"], amp=amp).SOLVER.AMP.ENABLED is enabled
