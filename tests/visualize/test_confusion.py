from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from dcal_reid.evaluation import ClassificationResult
from dcal_reid.visualize.confusion import draw_confusion

NAMES = ["red-billed finch", "yellow-billed finch", "grey wagtail"]
COUNTS = np.array([[6, 2, 0], [1, 9, 0], [0, 3, 1]])


def result_of(counts, names):
    """The result of the given numbers of images, by [true class, predicted class]."""
    labels, predicted = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
    return ClassificationResult(
        labels=labels,
        predicted=predicted[:, None],
        rank=np.where(predicted == labels, 1, 2)[:, None],
        top=predicted[:, None],
        probabilities=np.ones((len(labels), 1)),
        paths=np.full(len(labels), "a.png"),
        class_names=tuple(names),
    )


def matrix_and_pairs(figure):
    matrix = next(axes for axes in figure.axes if axes.images)
    pairs = next(axes for axes in figure.axes if "most confused" in axes.get_title())
    return matrix, pairs


def written(axes):
    return [text.get_text().strip() for text in axes.texts]


def random_counts(classes, rng):
    return np.diag(rng.integers(5, 20, classes)) + rng.integers(0, 3, (classes, classes))


def test_rows_are_in_percent_of_the_true_class(tmp_path, drawn):
    draw_confusion(tmp_path / "confusion.png", result_of(COUNTS, NAMES))
    matrix, _ = matrix_and_pairs(drawn[0])
    np.testing.assert_allclose(matrix.images[0].get_array(), [[75, 25, 0], [10, 90, 0], [0, 75, 25]])
    assert matrix.get_title() == "72.7 % of 22 images right"
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in matrix.get_xticklabels()] == NAMES
    assert [label.get_text() for label in matrix.get_yticklabels()] == NAMES


def test_pairs_are_listed_from_the_most_to_the_least_confused(tmp_path, drawn):
    draw_confusion(tmp_path / "confusion.png", result_of(COUNTS, NAMES))
    _, pairs = matrix_and_pairs(drawn[0])
    assert written(pairs) == [
        "red-billed finch → yellow-billed finch",
        "2 of 8, the other way 1 of 10",
        "grey wagtail → yellow-billed finch",
        "3 of 4",
    ]
    assert [(bar.get_x(), bar.get_width()) for bar in pairs.patches] == [(0, 2), (2, 1), (0, 3), (3, 0)]


def test_pairs_are_those_of_the_table_beside_them(tmp_path, drawn):
    """Three mistakes each way are more than four in one direction."""
    counts = np.array([[5, 3, 0, 0], [3, 5, 0, 0], [0, 0, 5, 4], [0, 0, 0, 5]])
    result = result_of(counts, "abcd")
    draw_confusion(tmp_path / "confusion.png", result)
    _, pairs = matrix_and_pairs(drawn[0])
    assert written(pairs) == ["a → b", "3 of 8, the other way 3 of 8", "c → d", "4 of 9"]
    assert [(p.true, p.predicted, p.count, p.reverse) for p in result.most_confused()] == [(0, 1, 3, 3), (2, 3, 4, 0)]


def test_a_classifier_without_errors_has_no_pairs(tmp_path, drawn, assert_legible):
    draw_confusion(tmp_path / "confusion.png", result_of(np.diag([3, 4, 5]), NAMES))
    matrix, pairs = matrix_and_pairs(drawn[0])
    assert matrix.get_title() == "100.0 % of 12 images right"
    assert written(pairs) == ["none: every image is right"]
    assert_legible(drawn[0])


def test_a_few_percent_can_be_told_from_none(tmp_path, drawn):
    counts = np.array([[98, 2, 0], [0, 100, 0], [0, 0, 100]])
    draw_confusion(tmp_path / "confusion.png", result_of(counts, NAMES))
    image = matrix_and_pairs(drawn[0])[0].images[0]
    few, none = (np.array(image.cmap(image.norm(value))[:3]) for value in (2, 0))
    assert np.abs(255 * (few - none)).max() > 30


def test_a_class_without_a_test_image_is_grey_and_said_to_be(tmp_path, drawn):
    draw_confusion(tmp_path / "confusion.png", result_of(np.array([[3, 1], [0, 0]]), NAMES[:2]))
    matrix, _ = matrix_and_pairs(drawn[0])
    assert matrix.images[0].get_array().mask.tolist() == [[False, False], [True, True]]
    assert matrix.get_ylabel() == "true class; grey: no test image"


@pytest.mark.parametrize("classes", [1, 5, 20, 40, 200])
def test_picture_is_legible(tmp_path, drawn, assert_legible, classes):
    names = [f"{number:03d}.Black_footed_Albatross_of_the_sea" for number in range(classes)]
    counts = random_counts(classes, np.random.default_rng(0))
    draw_confusion(tmp_path / "confusion.png", result_of(counts, names), title="CUB-200-2011")
    (figure,) = drawn
    assert_legible(figure)
    matrix, _ = matrix_and_pairs(figure)
    for axis in (matrix.xaxis, matrix.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.width > 1000 and picture.height > 600


def test_too_many_classes_are_numbered_and_said_to_be(tmp_path, drawn):
    draw_confusion(tmp_path / "confusion.png", result_of(random_counts(100, np.random.default_rng(0)), ["name"] * 100))
    matrix, _ = matrix_and_pairs(drawn[0])
    assert matrix.get_ylabel() == "true class (0 to 99 in the order of the classes, too many to name)"
    assert len(matrix.get_yticks()) < 15
    assert all(float(tick).is_integer() for tick in matrix.get_yticks())


def test_a_dollar_begins_no_formula(tmp_path, drawn):
    names = ["$5_to_$10", "$10_to_$20"]
    draw_confusion(tmp_path / "confusion.png", result_of(np.array([[3, 1], [0, 2]]), names), title="$a_$b")
    matrix, pairs = matrix_and_pairs(drawn[0])
    assert written(pairs)[0] == "$5_to_$10 → $10_to_$20"
    named = [*matrix.get_xticklabels(), *matrix.get_yticklabels(), *pairs.texts, drawn[0]._suptitle]
    assert not any(text.get_parse_math() for text in named)
