from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from helpers.runs import run
from torch import nn
from torch.nn import functional as F

from dcal_reid import Predictor
from dcal_reid.engine.job import evaluate
from dcal_reid.engine.setup import save_config
from dcal_reid.export import export_weights


class Own(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(16, cfg.MODEL.HEADS.NUM_CLASSES)

    def forward(self, batch):
        features = self.body(batch["images"].float() / 255)
        return {"loss": F.cross_entropy(self.fc(features), batch["targets"])} if self.training else features


def test_a_run_and_its_evaluation(run_cfg, monkeypatch):
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Own", Own)
    run_cfg.MODEL.META_ARCHITECTURE, run_cfg.SOLVER.MAX_EPOCH = "Own", 1
    _, results = run(run_cfg)
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    assert evaluate(run_cfg) == pytest.approx(results)


def test_exported_weights(run_cfg, monkeypatch, tmp_path):
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Own", Own)
    run_cfg.MODEL.META_ARCHITECTURE, run_cfg.SOLVER.MAX_EPOCH = "Own", 1
    _, results = run(run_cfg)
    save_config(run_cfg)
    trained = Predictor(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    exported = tmp_path / "own.safetensors"
    export_weights(trained, exported)
    found = Predictor(exported)
    assert found.fingerprint == trained.fingerprint and torch.equal(found.model.fc.weight, trained.model.fc.weight)
    run_cfg.MODEL.WEIGHTS = str(exported)
    assert evaluate(run_cfg) == pytest.approx(results)
