from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.visualize import predictions
from dcal_reid.visualize.cells import QUERY, RIGHT, WRONG
from dcal_reid.visualize.predictions import Prediction, draw_predictions, draw_predictions_of

SIZE = (64, 64)


@pytest.fixture
def files(tmp_path):
    """Four images of different sizes, each of one grey."""
    paths = []
    for number in range(4):
        path = tmp_path / f"bird{number}.png"
        Image.new("L", (40 + 10 * number, 60), 50 * number).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def prediction(files):
    return Prediction(
        image=files[0],
        label="red-billed finch",
        classes=["yellow-billed finch", "red-billed finch", "grey wagtail"],
        probabilities=np.array([0.625, 0.25, 0.005]),
        examples=files[1:],
    )


def images(figure):
    return [axes for axes in figure.axes if axes.images]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_frames_tell_the_test_image_the_true_class_and_others_apart(tmp_path, drawn, prediction):
    draw_predictions(tmp_path / "predictions.png", [prediction], size=SIZE)
    frames = [{to_hex(spine.get_edgecolor()) for spine in axes.spines.values()} for axes in images(drawn[0])]
    assert frames == [{QUERY}, {WRONG}, {RIGHT}, {WRONG}]


def test_every_class_is_shown_by_its_example(tmp_path, drawn, prediction):
    draw_predictions(tmp_path / "predictions.png", [prediction], size=SIZE)
    greys = [np.unique(axes.images[0].get_array()).tolist() for axes in images(drawn[0])]
    assert greys == [[0], [50], [100], [150]]


def test_captions_and_title_say_what_is_shown(tmp_path, drawn, prediction):
    draw_predictions(tmp_path / "predictions.png", [prediction], size=SIZE)
    assert [axes.get_xlabel() for axes in images(drawn[0])] == [
        "test image",
        "✗ 62.5 %\nyellow-billed\nfinch",
        "✓ 25.0 %\nred-billed finch",
        "✗ 0.5 %\ngrey wagtail",
    ]
    assert texts(drawn[0]) == ["red-billed finch"]


def test_a_true_class_that_is_not_among_the_first_is_said_so(tmp_path, drawn, files):
    prediction = Prediction(files[0], "grey wagtail", ["finch", "thrush"], [0.5, 0.3], files[1:3])
    draw_predictions(tmp_path / "predictions.png", [prediction], size=SIZE)
    assert texts(drawn[0]) == ["grey wagtail  ·  not in the first 2"]


def test_images_have_the_shape_that_the_model_sees_and_a_resolution_for_people(tmp_path, drawn, prediction):
    draw_predictions(tmp_path / "predictions.png", [prediction], size=(32, 16))
    assert {axes.images[0].get_array().shape for axes in images(drawn[0])} == {(300, 150, 3)}


@pytest.mark.parametrize("size", [(448, 448), (64, 128), (256, 128)])
def test_picture_is_legible(tmp_path, drawn, assert_legible, prediction, files, size):
    long = "001.Mercedes-Benz_C-Class_Sedan_2012_with_everything_that_one_can_order"
    others = [Prediction(files[0], long, [long], [1.0], files[1:2]), Prediction(files[0], long, ["a"], [1], files[1:2])]
    draw_predictions(tmp_path / "predictions.png", [prediction, *others, prediction], size=size)
    assert_legible(drawn[0])
    with Image.open(tmp_path / "predictions.png") as picture:
        assert picture.width > 500 and picture.height > 300


def test_parts_of_different_lengths_are_our_fault_and_not_the_users(tmp_path, files):
    for parts in ((["a", "b"], [0.5], files[1:3]), (["a", "b"], [0.5, 0.2], files[1:2])):
        with pytest.raises(ValueError, match="is shorter than"):
            draw_predictions(tmp_path / "out.png", [Prediction(files[0], "a", *parts)], size=SIZE)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("probabilities", [[0.5, 1.5], [-0.1, 0.2], [float("nan"), 0.2]])
def test_what_is_no_probability_is_refused(files, probabilities):
    with pytest.raises(InputError, match=r"bird0\.png' has probabilities .* give shares of 1"):
        Prediction(files[0], "a", ["a", "b"], probabilities, files[1:3])


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="no prediction to draw"):
        draw_predictions(tmp_path / "predictions.png", [], size=SIZE)


def test_a_broken_image_is_named(tmp_path, files):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        draw_predictions(tmp_path / "out.png", [Prediction(files[0], "a", ["a"], [1.0], [broken])], size=SIZE)
    assert not (tmp_path / "out.png").exists()


def test_a_prediction_shows_an_example_of_each_class(classified, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(predictions, "draw_predictions", lambda path, parts, size: drawn.extend(parts))
    dataset = SimpleNamespace(train=[("b1.png", 1, 0), ("a1.png", 0, 0), ("a2.png", 0, 0)])
    draw_predictions_of(tmp_path / "p.png", classified, dataset, (32, 32), count=2)
    wrong, right = drawn
    assert (wrong.image, wrong.label, wrong.classes) == ("1.png", "ant", ["bee", "ant"])
    assert wrong.examples == ["b1.png", "a1.png"]
    assert wrong.probabilities == pytest.approx([0.9, 0.1])
    assert (right.image, right.label, right.classes) == ("0.png", "ant", ["ant", "bee"])


def test_an_example_is_an_image_that_can_be_decoded(classified, tmp_path, monkeypatch):
    drawn, paths = [], [str(tmp_path / f"{number}.png") for number in range(3)]
    Image.new("RGB", (4, 4)).save(paths[1])
    Path(paths[0]).write_bytes(b"no image")
    monkeypatch.setattr(predictions, "draw_predictions", lambda path, parts, size: drawn.extend(parts))
    dataset = SimpleNamespace(train=[(paths[0], 0, 0), (paths[1], 0, 0), (paths[2], 1, 0)])
    draw_predictions_of(tmp_path / "p.png", classified, dataset, (32, 32), count=2)
    assert drawn[0].examples == [paths[2], paths[1]]
