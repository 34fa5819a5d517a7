"""Predictions: every test image with the classes that a model finds most probable for it."""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.datasets.classification import ClassificationDataset
from ..data.images import read_image
from ..errors import InputError
from ..evaluation import ClassificationResult
from ..text import shortened
from .cells import QUERY, RIGHT, WRONG, Cell, ImageRows
from .chosen import mistakes_first

__all__ = ["Prediction", "draw_predictions", "draw_predictions_of"]

# Characters of a class name in a title, and in each of the two lines it has in a caption.
TITLE_LENGTH, LINE_LENGTH = 32, 16


@dataclass(frozen=True)
class Prediction:
    """One test image and its k most probable classes, most probable first.

    Args:
        image: the test image's file.
        label: the name of its true class.
        classes: k class names.
        probabilities: k numbers, 0..1.
        examples: k image files: a training image of each class.
    """

    image: str | Path
    label: str
    classes: Sequence[str]
    probabilities: Sequence[float]
    examples: Sequence[str | Path]

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, dtype=float)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise InputError(
                f"the prediction of image {str(self.image)!r} has probabilities {probabilities.tolist()}; "
                "give shares of 1, as softmax does"
            )


def draw_predictions_of(
    path: str | Path,
    result: ClassificationResult,
    dataset: ClassificationDataset,
    size: tuple[int, int],
    *,
    count: int = 6,
) -> None:
    """Test images with their most probable classes, mistakes first.

    Args:
        path: the picture to write.
        result: of an evaluation on ``dataset``.
        dataset: gives each class an example, its first training image that can be decoded.
        size: (height, width) in which images are shown.
        count: how many test images.

    Raises:
        InputError: an image that cannot be read.
    """
    images, names, shown = defaultdict(list), result.class_names, mistakes_first(result, count)
    for image, label, _ in dataset.train:
        images[label].append(image)
    examples = {label: _first_decodable(images[label]) for label in np.unique(result.top[shown]).tolist()}
    predictions = [
        Prediction(
            image=str(result.paths[number]),
            label=names[result.labels[number]],
            classes=[names[label] for label in result.top[number]],
            probabilities=result.probabilities[number].clip(max=1).tolist(),
            examples=[examples[label] for label in result.top[number]],
        )
        for number in shown
    ]
    draw_predictions(path, predictions, size=size)


def _first_decodable(paths: Sequence[str]) -> str:
    """The first image that can be decoded; with DATALOADER.BROKEN_IMAGES skip not all can. If none can, the first."""
    for path in paths:
        with suppress(InputError):
            read_image(path)
            return path
    return paths[0]


def draw_predictions(path: str | Path, predictions: Sequence[Prediction], *, size: tuple[int, int]) -> None:
    """One row per test image: the image in a blue frame, then its most probable classes.

    A class is shown by its training image, framed green if it is the true class and red if it is another.

    Args:
        path: the picture to write; its suffix is the format.
        predictions: at least one, of any length.
        size: (height, width) that the model takes. Images are shown in this shape, at a resolution for viewing.

    Raises:
        InputError: no prediction, or an image that cannot be read.
    """
    if not predictions:
        raise InputError("there is no prediction to draw; give at least one test image")
    rows = ImageRows(
        len(predictions),
        1 + max(len(prediction.classes) for prediction in predictions),
        size=size,
        caption_lines=3,
        legend={QUERY: "test image", RIGHT: "✓ its class", WRONG: "✗ another class"},
    )
    for row, prediction in enumerate(predictions):
        parts = zip(prediction.classes, prediction.probabilities, prediction.examples, strict=True)
        cells = []
        for name, probability, example in parts:
            colour, mark = (RIGHT, "✓") if name == prediction.label else (WRONG, "✗")
            cells.append(Cell(example, colour, f"{mark} {100 * probability:.1f} %\n{_wrap(name)}"))
        rows.draw(row, _title(prediction), Cell(prediction.image, QUERY, "test image"), cells)
    rows.save(path)


def _title(prediction: Prediction) -> str:
    name = shortened(prediction.label, TITLE_LENGTH)
    if prediction.label in prediction.classes:
        return name
    return f"{name}  ·  not in the first {len(prediction.classes)}"


def _wrap(name: str) -> str:
    return "\n".join(textwrap.wrap(name, LINE_LENGTH, max_lines=2, placeholder="…"))
