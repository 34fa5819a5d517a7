"""The images on which an exported model is compared with PyTorch."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..data.datasets.listing import images_below
from ..data.images import ImageLike
from ..engine.predictor import Predictor
from ..errors import InputError

__all__ = ["check_images"]

_FILES, _GENERATED = 200, 16


def check_images(predictor: Predictor, given: Sequence[str]) -> list[ImageLike]:
    """Image files, at most 200 of them, spread evenly over the given ones; or generated images of several sizes.

    Args:
        predictor: each side of the generated images is 0.7 to 2.5 times that of its input.
        given: files and folders.

    Raises:
        InputError: no such file, or no image in a folder.
    """
    files = [file for path in given for file in _image_files(path)]
    if not given:
        return _generated(*predictor.image_size)
    chosen = np.unique(np.linspace(0, len(files) - 1, min(_FILES, len(files))).round().astype(int))
    return [files[i] for i in chosen]


def _image_files(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    found = images_below(path) if os.path.isdir(path) else []
    if not found:
        raise InputError(f"--images {path!r} is neither an image file nor a folder with any below it; check the path")
    return found


def _generated(height: int, width: int) -> list[np.ndarray]:
    """Smooth colours with some noise, as photographs have."""
    rng = np.random.default_rng(0)
    images = []
    for stretch in rng.uniform(0.7, 2.5, (_GENERATED, 2)):
        size = np.maximum(1, stretch * (width, height)).astype(int).tolist()
        shapes = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        noise = rng.normal(0, 8, (size[1], size[0], 3))
        images.append((np.asarray(shapes) + noise).clip(0, 255).astype(np.uint8))
    return images
