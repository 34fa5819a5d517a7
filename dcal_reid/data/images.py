"""Decode an image file to RGB, whatever mode it is stored in.

Pillow does it. ``torchvision.io`` decodes JPEGs to the same pixels in half the time, but is deprecated and on its way
out of torchvision (0.29).
"""

import io
from contextlib import suppress

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from ..errors import InputError

__all__ = ["IMAGE_SUFFIXES", "read_image"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})


def read_image(path: str) -> torch.Tensor:
    """Decode one image file.

    The EXIF orientation is applied. Transparent pixels are laid over black. 16-bit grey is scaled to 8 bits, not
    clipped. Of an animation, the first frame is taken.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        InputError: the file is missing, empty, truncated or not an image. The message names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"image {path!r} cannot be read: {error.strerror}; check the path") from error
    if not data:
        raise InputError(f"image {path!r} is empty (0 bytes); copy it again, or leave it out of the dataset")

    try:
        return F.pil_to_tensor(_decode_rgb(data))
    except Exception as error:  # decoders raise nearly anything on damaged files: OSError, SyntaxError, zlib.error ...
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is in no known image format"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"image {path!r} cannot be decoded: {reason}; repair it, or set DATALOADER.BROKEN_IMAGES skip"
        ) from error


def _decode_rgb(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        with suppress(Exception):  # a damaged EXIF block is no reason to lose the image
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            raise ValueError("32-bit floating-point pixels have no fixed range")
        if image.mode.startswith("I"):
            image = _sixteen_to_eight_bits(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
        return image if image.mode == "RGB" else image.convert("RGB")


def _sixteen_to_eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips at 255, which makes nearly every 16-bit image white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixel values from {values.min()} to {values.max()} are not 16-bit")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
