"""A small generated dataset for fine-grained classification, for trying the whole pipeline without a download.

Birds in many poses, colours, places and lights, all of them random. The class is told by one small mark alone, which
its name describes: a red-billed finch has a red bill. A family has its mark at one part of the body, in two shapes and
two colours, so its members are easily confused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from .demo_fgvc_figures import SPECIES, render
from .generated import check_at_least, write_once

__all__ = ["write_demo_fgvc"]

# Raise it with every change that alters an image, so that a dataset written earlier is written anew.
VERSION = 1


def write_demo_fgvc(
    root: str | Path,
    *,
    seed: int = 0,
    classes: int = len(SPECIES),
    train_images: int = 60,
    test_images: int = 12,
) -> Path:
    """Write the dataset to ``root/demo-fgvc``, unless the same one is there already. It takes some ten seconds.

    ``train`` and ``val`` hold a folder per class, ``yellow-ringed warbler/0001.jpg`` ... The folder of the dataset
    appears complete or not at all, also when several processes call this at once.

    Args:
        root: where datasets are kept.
        seed: decides every image.
        classes: the first so many of the 20.
        train_images: of each class.
        test_images: of each class.

    Returns:
        The folder of the dataset.

    Raises:
        InputError: a count or the seed is too small, there are not so many classes, or ``root/demo-fgvc`` holds
            something else.
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
                # A generator per image: one image does not depend on how many came before it.
                rng = np.random.default_rng([seed, part, label, number])
                yield f"{folder}/{species.name}/{number:04d}.jpg", render(species, rng)
