"""A small generated dataset for fine-grained classification, for trying the whole pipeline without a download.

The birds have random poses, colours, surroundings and lighting. Only one small mark, which the class name describes,
identifies the class: a red-billed finch has a red bill. A family has its mark on one part of the body, in two shapes
and two colours, so its members are easily confused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from .demo_fgvc_figures import SPECIES, render
from .generated import check_at_least, write_once

__all__ = ["write_demo_fgvc"]

# Increase it with every change that alters an image, so that existing datasets are regenerated.
VERSION = 1


def write_demo_fgvc(
    root: str | Path,
    *,
    seed: int = 0,
    classes: int = len(SPECIES),
    train_images: int = 60,
    test_images: int = 12,
) -> Path:
    """Write the dataset to ``root/demo-fgvc`` unless it is already there. This takes about ten seconds.

    ``train`` and ``val`` hold a folder per class, ``yellow-ringed warbler/0001.jpg`` ... The folder of the dataset
    appears complete or not at all, even if several processes call this at once.

    Args:
        root: where datasets are kept.
        seed: determines every image.
        classes: how many of the 20 classes to use, from the first on.
        train_images: number of training images per class.
        test_images: number of test images per class.

    Returns:
        The folder of the dataset.

    Raises:
        InputError: a count or the seed is too small, ``classes`` is above 20, or ``root/demo-fgvc`` holds something
            else.
    """
    least = {"seed": 0, "classes": 2, "train_images": 1, "test_images": 1}
    contents = {"seed": seed, "classes": classes, "train_images": train_images, "test_images": test_images}
    check_at_least(least, contents)
    if classes > len(SPECIES):
        raise InputError(f"classes of the demo dataset is {classes}; it must be at most {len(SPECIES)}")
    return write_once(Path(root) / "demo-fgvc", {"version": VERSION, **contents}, _images(**contents))


def _images(*, seed: int, classes: int, train_images: int, test_images: int) -> Iterator[tuple[str, Image.Image]]:
    """Every image with its path inside the dataset."""
    for part, (folder, count) in enumerate((("train", train_images), ("val", test_images))):
        for label, species in enumerate(SPECIES[:classes]):
            for number in range(1, count + 1):
                # A generator per image: an image does not depend on how many were drawn before it.
                rng = np.random.default_rng([seed, part, label, number])
                yield f"{folder}/{species.name}/{number:04d}.jpg", render(species, rng)
