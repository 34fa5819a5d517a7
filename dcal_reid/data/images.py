"""Convert images of any supported type and mode to RGB tensors.

Pillow decodes them. ``torchvision.io`` decodes JPEGs to the same pixels in half the time, but is deprecated since
torchvision 0.29 and will be removed.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from ..errors import InputError

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "UNREAD_IMAGE_SUFFIXES",
    "ImageLike",
    "as_image",
    "decode_image",
    "read_image",
]

ImageLike = str | os.PathLike | Image.Image | np.ndarray | torch.Tensor

# The only formats that are opened: every additional decoder could be attacked by a malicious file.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# Suffixes of image formats that are not opened.
UNREAD_IMAGE_SUFFIXES = frozenset({".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".pgm", ".ppm"})


def read_image(path: str) -> torch.Tensor:
    """Decode one image file.

    The EXIF orientation is applied. Transparent pixels are composited onto black. 16-bit grey is scaled to 8 bits, not
    clipped. Of an animation, the first frame is used.

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
    return decode_image(data, path)


def decode_image(data: bytes, name: str) -> torch.Tensor:
    """``read_image`` for the content of a file that is already in memory.

    Args:
        data: JPEG, PNG, ...
        name: what the image is called in error messages.

    Raises:
        InputError: there is no data, or it is not an image.
    """
    if not data:
        raise InputError(f"image {name!r} is empty (0 bytes); copy it again, or leave it out of the dataset")
    with _decoding(name), Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
        return F.pil_to_tensor(_as_rgb(image))


def as_image(image: ImageLike) -> torch.Tensor:
    """Convert an image to what ``read_image`` returns: (3, H, W) uint8, RGB.

    Args:
        image: a file, a Pillow image of any mode, an array (H, W, 3) or (H, W) of uint8 in RGB (OpenCV's are BGR), or
            a tensor (3, H, W) of uint8, on any device.

    Raises:
        InputError: anything else, or an image that cannot be decoded.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(os.fspath(image))
    if isinstance(image, Image.Image):
        with _decoding(getattr(image, "filename", "") or "in memory"):
            return F.pil_to_tensor(_as_rgb(image.copy()))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if image.ndim == 2:
            image = image[:, :, None].repeat(3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3 and image.size:
            return torch.from_numpy(image.copy()).permute(2, 0, 1)
    tensor = isinstance(image, torch.Tensor) and image.dtype == torch.uint8
    if tensor and image.ndim == 3 and image.shape[0] == 3 and image.numel():
        return image.cpu()
    kind = f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"
    raise InputError(
        "an image must be a path, a Pillow image, an array (H, W, 3) or (H, W), or a tensor (3, H, W), of uint8, not a "
        f"{kind}"
    )


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders raise almost anything on damaged files: OSError, SyntaxError, zlib.error ...
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"it is none of {', '.join(IMAGE_FORMATS)}"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"image {name!r} cannot be decoded: {reason}; repair it or leave it out, as "
            "DATALOADER.BROKEN_IMAGES skip does in training, tests and extraction"
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """May change ``image``."""
    image.load()
    with suppress(Exception):  # a damaged EXIF block is no reason to reject the image
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
    """Scale 16-bit to 8-bit grey. Pillow's own conversion clips at 255, which makes nearly every image white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixel values from {values.min()} to {values.max()} are not 16-bit")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
