"""Classification through the whole engine: train, evaluate, resume, and what must not be mixed up."""

import json
from pathlib import Path

import pytest
from helpers.runs import command, run

from dcal_reid.data import build_classification_test_loader
from dcal_reid.engine import argument_parser, evaluate, main, train
from dcal_reid.engine.check import check_config
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.engine.job import evaluation_model
from dcal_reid.engine.weight_file import read_weights
from dcal_reid.errors import InputError


def weights_of(cfg, name="model_final.pth"):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR, name))
    return cfg


def test_train_then_evaluate(class_cfg):
    check_config(class_cfg)
    results = train(class_cfg)
    assert set(results) == {"Top-1", "Top-5", "Class-mean", "Top-1-SA", "Top-1-GLCA", "metric"}
    assert results["Top-1"] > 50
    cfg = weights_of(class_cfg)
    assert evaluate(cfg) == results
    assert read_weights(cfg.MODEL.WEIGHTS).class_names == ["blue", "green", "grey", "red"]
    folder = Path(cfg.OUTPUT_DIR, "evaluation", "ImageFolderFGVC")
    files = {"predictions.csv", "classes.csv", "confused_pairs.csv", "confusion.csv", "confusion.png"}
    assert {path.name for path in folder.iterdir()} == files
    lines = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    assert lines[-1]["Top-1"] == results["Top-1"] and 0 <= lines[-1]["sa/accuracy"] <= 1
    # Scaled to the batch of 8, and not the 0.01 of a batch of 16.
    assert 0.004 < max(line["lr"] for line in lines) <= 0.005


@pytest.mark.parametrize("inference", ["sa+glca", "sa", "glca"])
def test_the_metrics_are_those_of_the_models_own_scores(class_cfg, inference):
    class_cfg.MODEL.DCAL.INFERENCE = inference
    model = evaluation_model(class_cfg)
    metrics, evaluator = evaluate_dataset(class_cfg, model, "ImageFolderFGVC")
    assert ("Top-1-SA" in metrics) == (inference == "sa+glca")
    assert not model.training
    loader, _ = build_classification_test_loader(class_cfg, "ImageFolderFGVC")
    predicted = [label for batch in loader for label in model(batch).argmax(dim=1).tolist()]
    assert evaluator.result.predicted[:, 0].tolist() == predicted


def test_a_complete_run_is_evaluated_on_resume(class_cfg):
    class_cfg.freeze()
    assert train(class_cfg) == train(class_cfg, resume=True)


def test_other_classes_than_those_of_training_are_refused(class_cfg, tmp_path):
    class_cfg.SOLVER.MAX_EPOCH, class_cfg.SOLVER.WARMUP_ITERS = 1, 0
    train(class_cfg)
    cfg = weights_of(class_cfg)
    for folder in ("train", "val"):
        (tmp_path / "images" / folder / "red").rename(tmp_path / "images" / folder / "pink")
    with pytest.raises(
        InputError, match=r"trained on 4 classes.* has 4, the first that differs is 'red' there and 'pi"
    ):
        evaluate(cfg)


def test_a_report_leaves_what_an_evaluation_leaves(class_run_folder, class_cfg, tmp_path):
    arguments = command(class_cfg, "--eval-only", "--report", str(tmp_path / "report.html"))[2:]
    main(argument_parser().parse_args([*arguments, "MODEL.WEIGHTS", str(class_run_folder / "model_final.pth")]))
    assert "Confused classes" in (tmp_path / "report.html").read_text()
    assert (class_run_folder / "evaluation" / "ImageFolderFGVC" / "confusion.png").is_file()


def test_the_number_of_classes_must_be_the_data_sets(class_cfg):
    class_cfg.MODEL.HEADS.NUM_CLASSES = 5
    with pytest.raises(InputError, match="NUM_CLASSES is 5, but there are 4 classes"):
        train(class_cfg)


def test_a_label_must_say_something(class_cfg):
    class_cfg.MODEL.LOSSES.CE.EPSILON = 0.8
    with pytest.raises(InputError, match=r"EPSILON is 0\.8; with 4 classes it must be below 0\.75"):
        train(class_cfg)


def test_a_broken_image_is_named_or_skipped(class_cfg, tmp_path):
    (tmp_path / "images" / "train" / "red" / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png' cannot be decoded"):
        train(class_cfg)
    class_cfg.DATALOADER.BROKEN_IMAGES = "skip"
    assert "Top-1" in train(class_cfg)


def test_a_head_and_a_data_set_of_different_tasks_are_refused(class_cfg):
    class_cfg.MODEL.HEADS.NAME = "DCALHead"
    class_cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    with pytest.raises(InputError, match=r"ImageFolderFGVC is for classification.*configs/Base-fgvc\.yml"):
        train(class_cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATASETS.TESTS", ("CUB200",), "name the same one in both"),
        ("DATASETS.COMBINEALL", True, "must not train on its test images"),
        ("DATASETS.HOLD_OUT", 1, "3 holds every third training image out"),
        ("DATASETS.HOLD_OUT", -1, "HOLD_OUT is -1"),
        ("TEST.RERANK.ENABLED", True, "for re-identification"),
        ("TEST.SAVE_FEATURES", True, "no features to score"),
        ("INPUT.CROP.METHOD", "random", "choose one of scaled, fixed"),
    ],
)
def test_what_classification_cannot_do_is_refused(class_cfg, key, value, message):
    class_cfg.merge_from_list([key, value])
    with pytest.raises(InputError, match=message):
        check_config(class_cfg)


def test_a_run_goes_on_only_with_its_own_classes(class_cfg, tmp_path):
    class_cfg.SOLVER.MAX_EPOCH = 1
    run(class_cfg)
    for folder in ("train", "val"):
        (tmp_path / "images" / folder / "grey").rename(tmp_path / "images" / folder / "greyish")
    class_cfg.SOLVER.MAX_EPOCH = 2
    with pytest.raises(InputError, match="from other class names than there are now, so its run cannot continue"):
        run(class_cfg, resume=True)
