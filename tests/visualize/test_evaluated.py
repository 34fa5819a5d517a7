import shutil

import numpy as np
import pytest

from dcal_reid import Predictor
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.errors import InputError
from dcal_reid.visualize.evaluated import evaluated_classes, evaluated_features, evaluated_retrieval


@pytest.mark.parametrize("flip", ["False", "True"])
def test_retrieval_is_what_an_evaluation_finds(run_folder, tmp_path, flip):
    predictor = Predictor(run_folder / "model_final.pth", overrides=("TEST.FLIP.ENABLED", flip))
    metrics, expected = evaluate_dataset(predictor.cfg, predictor.model, "CSVReID")
    found = evaluated_retrieval(predictor, "CSVReID")
    assert found.result.metrics() == metrics
    np.testing.assert_allclose(found.features().features, expected.features().features, atol=1e-5)
    found.features().save(tmp_path / "features.npz")
    again = evaluated_features(str(tmp_path / "features.npz"), predictor.cfg)
    assert again.result.as_dict() == found.result.as_dict()
    assert again.features().paths.tolist() == found.features().paths.tolist()


@pytest.mark.parametrize("flip", ["False", "True"])
def test_classes_are_what_an_evaluation_finds(class_run_folder, flip, caplog):
    predictor = Predictor(class_run_folder / "model_final.pth", overrides=("TEST.FLIP.ENABLED", flip))
    metrics, expected = evaluate_dataset(predictor.cfg, predictor.model, "ImageFolderFGVC")
    caplog.clear()
    caplog.set_level("INFO")
    found = evaluated_classes(predictor, "ImageFolderFGVC")
    assert caplog.text.count("Loaded ImageFolderFGVC") == 1
    assert found.result.metrics() == metrics and "Top-1-GLCA" in metrics
    np.testing.assert_allclose(found.result.probabilities, expected.result.probabilities, atol=1e-5)


def test_images_that_cannot_be_decoded(run_folder, crops, caplog):
    (crops / "7_1_0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"7_1_0\.png"):
        evaluated_retrieval(Predictor(run_folder / "model_final.pth"), "CSVReID")
    skipping = Predictor(run_folder / "model_final.pth", overrides=("DATALOADER.BROKEN_IMAGES", "skip"))
    assert evaluated_retrieval(skipping, "CSVReID").result.num_gallery == 11
    assert "1 test images cannot be decoded and are left out" in caplog.text


@pytest.mark.parametrize("batch", ["1", "5"])
def test_images_of_classes_that_cannot_be_decoded(class_run_folder, tmp_path, caplog, batch):
    (tmp_path / "images" / "val" / "grey" / "0.png").write_bytes(b"no image")
    skip = ("DATALOADER.BROKEN_IMAGES", "skip", "TEST.IMS_PER_BATCH", batch)
    found = evaluated_classes(Predictor(class_run_folder / "model_final.pth", overrides=skip), "ImageFolderFGVC")
    assert len(found.result.labels) == 11
    assert "1 test images cannot be decoded and are left out" in caplog.text


def test_nothing_is_written(run_folder):
    before = sorted(run_folder.rglob("*"))
    predictor = Predictor(run_folder / "model_final.pth", overrides=("TEST.SAVE_FEATURES", "True"))
    evaluated_retrieval(predictor, "CSVReID")
    assert sorted(run_folder.rglob("*")) == before


def test_a_model_for_another_task_or_other_classes(class_run_folder):
    predictor = Predictor(class_run_folder / "model_final.pth")
    with pytest.raises(InputError, match="DCALClassificationHead is for classification, which has no rank lists"):
        evaluated_retrieval(predictor, "ImageFolderFGVC")
    predictor.class_names = ["ant", "bee"]
    with pytest.raises(
        InputError, match="on 2 classes, dataset ImageFolderFGVC has 4, the first that differs is 'ant'"
    ):
        evaluated_classes(predictor, "ImageFolderFGVC")


def test_where_the_names_of_the_classes_are_not_known_their_number_must_do(class_run_folder, tmp_path):
    predictor = Predictor(class_run_folder / "model_final.pth")
    predictor.class_names = None
    for folder in ("train", "val"):
        (tmp_path / "images" / folder / "red").rename(tmp_path / "images" / folder / "pink")
    assert evaluated_classes(predictor, "ImageFolderFGVC").result.class_names == ("blue", "green", "grey", "pink")
    for folder in ("train", "val"):
        shutil.copytree(tmp_path / "images" / folder / "pink", tmp_path / "images" / folder / "red")
    with pytest.raises(InputError, match="on 4 classes, dataset ImageFolderFGVC has 5; evaluate it on the data set it"):
        evaluated_classes(predictor, "ImageFolderFGVC")
