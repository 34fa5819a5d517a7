from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.data import build_test_loader
from dcal_reid.engine.inference import autocast, evaluate_dataset, has_half_precision
from dcal_reid.evaluation import FeatureSet, score


@pytest.fixture
def model(run_cfg):
    run_cfg.MODEL.HEADS.NUM_CLASSES = 1
    return build_model(run_cfg).eval()


def features_of(run_cfg, model, extract):
    loader, _ = build_test_loader(run_cfg, "CSVReID")
    with torch.no_grad():
        return torch.cat([extract(batch["images"]) for batch in loader])


def test_the_evaluator_has_the_models_features(run_cfg, model):
    metrics, evaluator = evaluate_dataset(run_cfg, model, "CSVReID")
    assert metrics["mAP"] == pytest.approx(100 * evaluator.result.mAP)
    expected = features_of(run_cfg, model, model)
    torch.testing.assert_close(torch.as_tensor(evaluator.features().features), expected, rtol=1e-4, atol=1e-4)


def test_features_are_kept_where_asked(run_cfg, model):
    metrics, _ = evaluate_dataset(run_cfg, model, "CSVReID")
    folder = Path(run_cfg.OUTPUT_DIR, "features")
    assert not folder.exists()
    run_cfg.TEST.SAVE_FEATURES = True
    evaluate_dataset(run_cfg, model, "CSVReID")
    kept = FeatureSet.load(folder / "CSVReID" / "features.npz")
    assert score(kept, run_cfg.TEST).metrics() == metrics


def test_flip_test_averages_the_features_of_both(run_cfg, model):
    """fast-reid normalises the flipped image twice."""
    run_cfg.TEST.FLIP.ENABLED = True
    _, evaluator = evaluate_dataset(run_cfg, model, "CSVReID")
    expected = features_of(run_cfg, model, lambda images: (model(images) + model(images.flip(3))) / 2)
    torch.testing.assert_close(torch.as_tensor(evaluator.features().features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_autocast_is_what_the_config_says(run_cfg, dtype):
    for enabled in (False, True):
        run_cfg.SOLVER.AMP.ENABLED, run_cfg.SOLVER.AMP.DTYPE = enabled, dtype
        with autocast(run_cfg):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        assert product.dtype == (half if enabled else torch.float32)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_processor_without_half_precision_computes_in_fp32(run_cfg, dtype, monkeypatch):
    """Half precision would take several times as long when a checkpoint from a GPU is evaluated on a laptop."""
    run_cfg.SOLVER.AMP.ENABLED, run_cfg.SOLVER.AMP.DTYPE = True, dtype
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported", lambda: False)
    assert not has_half_precision("cpu", dtype)
    with autocast(run_cfg):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_gpu_without_bf16_has_fp16(monkeypatch):
    """PyTorch emulates bf16 on GPUs before Ampere, without fused attention."""
    for instructions in (False, True):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, has=instructions: including_emulation or has,
        )
        assert has_half_precision("cuda:0", "bf16") == instructions
        assert has_half_precision("cuda:0", "fp16")


def test_emulated_half_precision_is_none(monkeypatch):
    """On a CPU with AVX-512 but without its bf16 instructions, oneDNN emulates them."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    for instructions in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda given=instructions: given)
        assert has_half_precision("cpu", "bf16") == instructions
