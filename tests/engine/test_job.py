from pathlib import Path

import pytest

from dcal_reid.engine import evaluate, train
from dcal_reid.engine.job import results_table
from dcal_reid.errors import InputError


def test_train_then_evaluate(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    Path(run_cfg.OUTPUT_DIR).mkdir()
    results = train(run_cfg)
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    run_cfg.freeze()
    assert evaluate(run_cfg) == results
    assert run_cfg.MODEL.HEADS.NUM_CLASSES == 0


def test_without_weights_the_backbone_is_evaluated_as_it_starts(run_cfg):
    assert set(evaluate(run_cfg)) >= {"Rank-1", "mAP", "mINP"}


def test_a_resumed_run_and_an_evaluation_do_not_need_the_pretrained_weights(run_cfg, tmp_path):
    run_cfg.SOLVER.MAX_EPOCH = 1
    Path(run_cfg.OUTPUT_DIR).mkdir()
    run_cfg.freeze()
    results = train(run_cfg)
    cfg = run_cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, str(tmp_path / "gone.pth")
    assert train(cfg, resume=True) == results
    cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    assert evaluate(cfg) == results


def test_too_few_classes_are_refused(run_cfg):
    run_cfg.MODEL.HEADS.NUM_CLASSES = 5
    with pytest.raises(InputError, match="there are 6 training identities"):
        train(run_cfg)


def test_the_table():
    rows = {"untrained": {"Rank-1": 5.0, "mAP": 12.345, "metric": 8.0}, "trained": {"Rank-1": 50.0, "mAP": 60.0}}
    assert results_table(rows).splitlines()[2:] == [
        "| untrained |      5.0 |  12.3 |",
        "| trained   |     50.0 |  60.0 |",
    ]
