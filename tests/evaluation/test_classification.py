import csv
import math

import numpy as np
import pytest

from dcal_reid.evaluation.classification import ClassificationResult, ConfusedPair


def make(labels, best, names=("ant", "bee", "cat"), **changes):
    labels, predicted = np.array(labels), np.array(best)[:, None]
    parts = {
        "labels": labels,
        "predicted": predicted,
        "rank": np.where(predicted == labels[:, None], 1, 2),
        "top": predicted,
        "probabilities": np.full(predicted.shape, 0.9),
        "paths": np.array([f"{i}.jpg" for i in range(len(labels))]),
        "class_names": names,
    }
    return ClassificationResult(**parts | changes)


@pytest.fixture
def result():
    """Ants are right twice and taken for a bee once, bees are taken for an ant twice; no cat is tested."""
    return make([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 0, 0, 1, 2])


def test_accuracies(result):
    assert result.accuracy() == 3 / 7
    assert result.accuracy(k=2) == 1
    per_class = result.per_class()
    assert per_class[:2].tolist() == [2 / 3, 1 / 4] and math.isnan(per_class[2])


def test_metrics_in_percent(result):
    metrics = result.metrics()
    assert metrics == pytest.approx({"Top-1": 300 / 7, "Top-5": 100, "Class-mean": 550 / 12, "metric": 300 / 7})


def test_metrics_of_each_branch():
    branches = {"predicted": np.array([[0, 0, 1], [1, 0, 1]]), "rank": np.array([[1, 1, 2], [1, 2, 1]])}
    result = make([0, 1], [0, 1], branches=("sa", "glca"), **branches)
    metrics = result.metrics()
    assert (metrics["Top-1"], metrics["Top-1-SA"], metrics["Top-1-GLCA"]) == (100, 50, 50)


def test_confusion_has_the_true_class_in_the_rows(result):
    assert result.confusion().tolist() == [[2, 1, 0], [2, 1, 1], [0, 0, 0]]


def test_most_confused_pairs_count_both_directions(result):
    assert result.most_confused() == [ConfusedPair(1, 0, 2, 1), ConfusedPair(1, 2, 1, 0)]
    assert result.most_confused(1) == [ConfusedPair(1, 0, 2, 1)]


def test_the_hardest_classes_are_those_with_mistakes(result):
    assert result.hardest() == [1, 0] and result.hardest(1) == [1]
    assert make([0, 1], [0, 1]).hardest() == []
    assert make([0, 0, 1, 1, 2], [0, 1, 1, 0, 2]).hardest() == [0, 1]


def test_describe_names_the_hardest_classes_and_pairs(result):
    text = result.describe()
    assert "7 images of 2 classes" in text
    assert "hardest: bee 25 %, ant 67 %" in text
    assert "| bee     | ant         |" in text


def test_a_perfect_result_has_nothing_to_describe():
    assert make([0, 1], [0, 1]).describe() == "2 images of 2 classes"


def test_files(result, tmp_path):
    result.save(tmp_path / "new" / "folder")

    def read(name):
        with open(tmp_path / "new" / "folder" / name, newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    assert read("confusion.csv") == [
        ["true \\ predicted", "ant", "bee", "cat"],
        ["ant", "2", "1", "0"],
        ["bee", "2", "1", "1"],
        ["cat", "0", "0", "0"],
    ]
    assert read("classes.csv")[1:] == [["ant", "3", "2", "0.6667"], ["bee", "4", "1", "0.2500"], ["cat", "0", "0", ""]]
    assert read("confused_pairs.csv")[1] == ["bee", "ant", "2", "1"]
    assert read("predictions.csv")[3] == ["2.jpg", "ant", "bee", "0.9000", "2"]


def test_file_names_that_are_not_utf8(tmp_path):
    make([0], [0], paths=np.array(["Stra\udcdfe.jpg"])).save(tmp_path)
    assert b"\nStra\xdfe.jpg,ant," in (tmp_path / "predictions.csv").read_bytes()


def test_contradictions_are_our_fault_and_not_the_users():
    with pytest.raises(ValueError, match="rank 1 exactly where"):
        make([0, 1], [0, 1], rank=np.array([[1], [2]]))
    with pytest.raises(ValueError, match="paths must be"):
        make([0, 1], [0, 1], paths=np.array(["0.jpg"]))
