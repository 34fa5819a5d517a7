"""Decode uploads to images, and encode images for the browser."""

import io

import torch
from PIL import Image

from ..data.images import as_image
from ..errors import InputError
from ..visualize.attention import enlarge
from ..visualize.attention import overlay as heat_map_over

__all__ = ["UnsupportedImage", "as_jpeg", "as_png", "decode_upload", "overlay"]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_LONGEST_SIDE = 512  # pixels of a picture that is shown


class UnsupportedImage(InputError):
    """A file that is not an image, or one in a format that is not accepted."""


def decode_upload(data: bytes, max_pixels: int) -> torch.Tensor:
    """Decode an untrusted upload to an image (3, H, W) uint8, RGB.

    The number of pixels is read from the file's header, before anything is decoded.

    Raises:
        UnsupportedImage: the file is empty, or none of JPEG, PNG, WebP and BMP.
        InputError: it is damaged, or has more than ``max_pixels``.
    """
    if not data:
        raise UnsupportedImage("the file is empty; choose an image")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height <= max_pixels:
                return as_image(image)
    except Image.UnidentifiedImageError:
        raise UnsupportedImage("the file is not an image in a known format; use JPEG, PNG, WebP or BMP") from None
    except Image.DecompressionBombError:
        raise InputError(f"the image has more than {max_pixels:,} pixels; make it smaller") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the image cannot be decoded: {reason}") from None
    raise InputError(f"the image has {width} x {height} pixels, more than {max_pixels:,}; make it smaller")


def as_jpeg(image: torch.Tensor) -> bytes:
    """(3, H, W) uint8 -> a JPEG of at most 512 x 512 pixels without metadata."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _encoded(picture, "JPEG", quality=90)


def as_png(image: torch.Tensor) -> bytes:
    """(3, H, W) uint8 -> a PNG without metadata, which decodes to the same pixels."""
    return _encoded(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), "PNG")


def overlay(image: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention (gh, gw) as a heat map, from 0 to its maximum, over an image (3, H, W) uint8.

    Returns:
        (3, H', W') uint8; small images are enlarged, so that the heat map is smooth.
    """
    picture = enlarge(image.permute(1, 2, 0).contiguous().numpy(), longest=2 * _LONGEST_SIDE)
    return torch.from_numpy(heat_map_over(picture, values.float().numpy())).permute(2, 0, 1)


def _encoded(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
