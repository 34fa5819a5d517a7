"""Features of images from a file that ``tools/export_onnx.py`` wrote, without PyTorch.

This file needs only numpy, Pillow and onnxruntime: copy it to where the model runs.

>>> from onnx_predictor import OnnxPredictor
>>> features = OnnxPredictor("model.onnx")(["a.jpg", "b.jpg"])  # (2, D)
"""

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

__all__ = ["OnnxPredictor"]

_VERSION = "1"
# Only these are opened: every further decoder is one more that a hostile file could reach.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
ImageLike = str | os.PathLike | Image.Image | np.ndarray


class OnnxPredictor:
    """What ``dcal_reid.Predictor`` gives: features, or with a classification model the probabilities of classes.

    Args:
        path: model.onnx.
        providers: onnxruntime's; default: CUDA if onnxruntime has it, and the CPU.
        batch_size: images that go through the model at once.
        threads: on the CPU; default: as many as there are cores.

    Attributes:
        image_size: (height, width) of the images as the model sees them.
        dim: D, or the number of classes.
        fingerprint: of the model. Galleries keep it, because features of two models must not be compared.
        class_names: of a classification model, by label; otherwise None.

    Raises:
        ValueError: no such file, or not one from ``tools/export_onnx.py``.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        providers: Sequence[str] | None = None,
        *,
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        if not os.path.isfile(path):
            raise ValueError(f"model {os.fspath(path)!r} not found; check the path")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        known = onnxruntime.get_available_providers()
        providers = providers or [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in known]
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(path), options, providers=list(providers))
        except Exception as error:  # onnxruntime's own exceptions have no common base class
            raise ValueError(f"model {os.fspath(path)!r} cannot be loaded: {' '.join(str(error).split())}") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("dcal_reid") != _VERSION:
            raise ValueError(
                f"{os.fspath(path)!r} is of version {metadata.get('dcal_reid')}, this reads version {_VERSION}: write "
                "it again with tools/export_onnx.py"
            )
        (images,), (outputs,) = self.session.get_inputs(), self.session.get_outputs()
        self.image_size: tuple[int, int] = tuple(images.shape[2:])
        self.dim: int = outputs.shape[1]
        self.batch_size = batch_size
        self.fingerprint = metadata["fingerprint"]
        self.class_names: list[str] | None = json.loads(metadata.get("class_names", "null"))
        self._resize, self._crop = (json.loads(metadata[key]) for key in ("resize", "crop"))

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray:
        """Features of images, in their order.

        Args:
            images: one or a sequence of paths, Pillow images or arrays (H, W, 3) or (H, W) of uint8 in RGB (OpenCV's
                are BGR), each of any size.

        Returns:
            (n, D) float32: features, not normalised; from a classification model one probability per class. For one
            image n is 1.

        Raises:
            ValueError: an item is not an image, or cannot be decoded.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or getattr(images, "ndim", 4) < 4:
            images = [images]
        starts = range(0, len(images), self.batch_size)
        parts = [self.run(self.preprocess(images[start : start + self.batch_size])) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def preprocess(self, images: Sequence[ImageLike]) -> np.ndarray:
        """Convert images of any size to what the model takes: (n, 3, H, W) uint8.

        Raises:
            ValueError: as for a call.
        """
        return np.stack([self._fitted(_as_array(image)).transpose(2, 0, 1) for image in images])

    def run(self, images: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) uint8 -> (n, D) float32."""
        return self.session.run(None, {self.session.get_inputs()[0].name: images})[0]

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        if self._resize:
            image = _resized(image, *_target(image.shape[:2], self._resize))
        return _centre_cropped(image, *self._crop) if self._crop else image


def _as_array(image: ImageLike) -> np.ndarray:
    """(H, W, 3) uint8, RGB."""
    if isinstance(image, str | os.PathLike):
        try:
            with Image.open(image, formats=_FORMATS) as opened:
                return np.asarray(_as_rgb(opened))
        except Exception as error:  # decoders raise nearly anything on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"image {os.fspath(image)!r} cannot be decoded: {reason}") from error
    if isinstance(image, Image.Image):
        return np.asarray(_as_rgb(image.copy()))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            return image[:, :, None].repeat(3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    kind = f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"
    raise ValueError(f"an image must be a path, a Pillow image or an array (H, W, 3) of uint8, not a {kind}")


# From here on the same as in dcal_reid.data, to the pixel (tests/export/test_onnx_predictor.py compares the two).


def _as_rgb(image: Image.Image) -> Image.Image:
    """EXIF orientation applied, transparent pixels over black, 16-bit grey scaled to 8 bits. May change ``image``."""
    image.load()
    with suppress(Exception):  # a damaged EXIF block is no reason to lose the image
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise ValueError("32-bit floating-point pixels have no fixed range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"pixel values from {values.min()} to {values.max()} are not 16-bit")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _target(size: tuple[int, int], resize: Sequence[int]) -> tuple[int, int]:
    """Height and width after a resize to [height, width] or to [the shorter side]."""
    if len(resize) == 2:
        return resize[0], resize[1]
    longer = int(resize[0] * max(size) / min(size))
    return (longer, resize[0]) if size[0] > size[1] else (resize[0], longer)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic and antialiased in fixed point, as PyTorch resizes uint8: the width first, then the height.

    Pillow's filter is the same, but with weights of 22 bits instead of 15. The pixels differ by 1, and the model's
    outputs by more.
    """
    if image.shape[1] != width:
        image = _resized_rows(image.swapaxes(0, 1), width).swapaxes(0, 1)
    return _resized_rows(image, height) if image.shape[0] != height else image


def _resized_rows(image: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) -> (size, W, 3)."""
    first, weights, shift = _filter(len(image), size)
    image = np.ascontiguousarray(image)
    total = np.full((size, *image.shape[1:]), 1 << (shift - 1), dtype=np.int32)
    for tap in range(weights.shape[1]):
        total += weights[:, tap, None, None] * image[np.minimum(first + tap, len(image) - 1)]
    return np.clip(total >> shift, 0, 255).astype(np.uint8)


@lru_cache(maxsize=256)
def _filter(length: int, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The weights of ``length`` old rows in each of ``size`` new rows.

    Returns:
        (size,) the first old row of each new row; (size, taps) int32, the weights of this row and the following ones,
        times 2**shift; shift.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    centres = scale * (np.arange(size) + 0.5)
    first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), length)
    rows = first[:, None] + np.arange((end - first).max())
    x = np.abs(rows - centres[:, None] + 0.5) / stretch
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0)) * (rows < end[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    # The most bits, up to 22, with which the largest weight still fits into an int16.
    shift = min(22, math.floor(math.log2((2**15 - 0.5) / weights.max())))
    fixed = np.trunc(weights * 2**shift + np.copysign(0.5, weights)).astype(np.int32)
    return first, fixed, shift


def _centre_cropped(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image that is smaller is padded with black first."""
    missing = [max(0, wanted - has) for wanted, has in zip((height, width), image.shape, strict=False)]
    image = np.pad(image, [*((space // 2, (space + 1) // 2) for space in missing), (0, 0)])
    top, left = (round((has - wanted) / 2) for wanted, has in zip((height, width), image.shape, strict=False))
    return image[top : top + height, left : left + width]
