from pathlib import Path

from dcal_reid.engine import evaluate, train
from dcal_reid.engine.job import results_table


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


def test_the_table():
    rows = {"untrained": {"Rank-1": 5.0, "mAP": 12.345, "metric": 8.0}, "trained": {"Rank-1": 50.0, "mAP": 60.0}}
    assert results_table(rows).splitlines()[2:] == [
        "| untrained |      5.0 |  12.3 |",
        "| trained   |     50.0 |  60.0 |",
    ]
