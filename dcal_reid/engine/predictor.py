"""From a checkpoint to features of images, in three lines."""

import logging
import os
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from PIL import Image
from torch import Tensor, nn

from ..data import build_path_loader
from ..data.images import ImageLike, as_image
from ..data.transforms import build_transforms, output_size
from ..errors import InputError
from ..modeling.dcal import AttentionMaps, check_attention
from ..task import is_classification
from . import weights as model_file
from .inference import autocast, mean_over_flip

__all__ = ["Extracted", "Predictor", "load_model"]

logger = logging.getLogger(__name__)

# Images whose attention is computed together; the queries and keys of all blocks are kept in memory.
_TOGETHER = 8


class Extracted(NamedTuple):
    """The result of :meth:`Predictor.extract` for a batch of image files."""

    indices: np.ndarray  # (n,) int64, positions among the paths
    features: np.ndarray  # (n, D) float32
    broken: list[str]  # paths that could not be decoded


def load_model(
    weights: str | os.PathLike, *, config_file: str = "", overrides: Sequence[str] = (), device: str = "auto"
) -> nn.Module:
    """The model in a file, in evaluation mode: uint8 images (B, 3, H, W) of its size -> features (B, D), or for
    classification the sum of the branches' probabilities (B, classes).

    Args:
        weights: a checkpoint of a run, with its config.yaml beside it, or a .safetensors from ``tools/export.py``.
        config_file, overrides: as for ``tools/train_net.py``; default: the configuration that comes with the weights.
        device: auto, cpu, cuda, cuda:1 ...

    Raises:
        InputError: a file that cannot be read, or that is of another model.
    """
    return model_file.load(os.fspath(weights), config_file, overrides, device)[1]


class Predictor:
    """Features of images, or with a classification model the probabilities of their classes.

    >>> predictor = dcal_reid.Predictor("logs/veri/dcal_vitb/model_best.pth")
    >>> features = predictor(["a.jpg", "b.jpg"])  # (2, D)
    >>> similarity = torch.cosine_similarity(*features, dim=0)

    Args:
        weights: as for :func:`load_model`; also "" for the model that ``config_file`` describes, before training.
        config_file, overrides: as for :func:`load_model`; TEST.IMS_PER_BATCH is the batch size, TEST.FLIP averages over
            an image and its mirror image, SOLVER.AMP is the precision.
        device: auto, cpu, cuda, cuda:1 ...

    Attributes:
        cfg: the configuration, frozen.
        model: in evaluation mode.
        class_names: of a classification model, by label; otherwise None.

    Raises:
        InputError: a file that cannot be read, or that is of another model.
    """

    def __init__(
        self,
        weights: str | os.PathLike = "",
        *,
        config_file: str = "",
        overrides: Sequence[str] = (),
        device: str = "auto",
    ) -> None:
        self._set(*model_file.load(os.fspath(weights), config_file, overrides, device))

    @classmethod
    def of(cls, cfg: CfgNode, model: nn.Module, class_names: list[str] | None = None) -> "Predictor":
        """From a model in evaluation mode and its configuration, which must be checked and have its device resolved."""
        predictor = cls.__new__(cls)
        predictor._set(cfg, model, class_names)
        return predictor

    def _set(self, cfg: CfgNode, model: nn.Module, class_names: list[str] | None) -> None:
        self.cfg, self.model = cfg, model
        self.class_names = class_names if is_classification(cfg) else None
        self.transform = build_transforms(self.cfg, is_train=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images as the model sees them."""
        return output_size(self.cfg, is_train=False)

    @cached_property
    def fingerprint(self) -> str:
        """The model's fingerprint. Galleries keep it, because features of two models must not be compared."""
        return model_file.fingerprint(self.cfg, self.model)

    @cached_property
    def dim(self) -> int:
        """D, or the number of classes."""
        return self._forward(torch.zeros((1, 3, *self.image_size), dtype=torch.uint8)).shape[1]

    def without_banner(self, rows: int) -> "Predictor":
        """A copy that first cuts this many rows of pixels from the bottom of each image, as FGVC-Aircraft needs."""
        predictor = copy(self)
        predictor.transform = build_transforms(self.cfg, is_train=False, banner=rows)
        return predictor

    def preprocess(self, images: Sequence[ImageLike]) -> Tensor:
        """Convert images of any size to what the model takes: (n, 3, H, W) uint8.

        Raises:
            InputError: an image that is none, or cannot be decoded.
        """
        return torch.stack([self.transform(as_image(image)) for image in images])

    def batches(self, images: Sequence[ImageLike]) -> Iterator[Tensor]:
        """:meth:`preprocess` of TEST.IMS_PER_BATCH images at a time, so that no more are in memory."""
        size = self.cfg.TEST.IMS_PER_BATCH
        for start in range(0, len(images), size):
            yield self.preprocess(images[start : start + size])

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Tensor:
        """Features of images, in their order.

        Args:
            images: one or a sequence of paths, Pillow images, arrays (H, W, 3) in RGB or tensors (3, H, W), uint8, each
                of any size.

        Returns:
            (n, D) float32 on the CPU, not normalised, as in evaluation. For one image n is 1. A classification model
            gives (n, C), the sum of the branches' probabilities (DCAL sec. 4.1).

        Raises:
            InputError: something is neither an image nor a sequence of images; an image cannot be decoded; a feature is
                not finite.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or getattr(images, "ndim", 4) < 4:
            images = [images]
        elif not isinstance(images, Sequence) and not hasattr(images, "ndim"):
            raise InputError(f"images are a {type(images).__name__}; give one, or a list of them")
        parts = [self._forward(batch) for batch in self.batches(images)]
        return torch.cat(parts) if parts else torch.empty((0, self.dim))

    def extract(self, paths: Sequence[str]) -> Iterator[Extracted]:
        """Features of many image files, batch by batch, decoded by DATALOADER.NUM_WORKERS processes. Where these are
        spawned (macOS, Windows), they import the script again, which then needs ``if __name__ == "__main__":``.

        Under ``torchrun`` each process gets a contiguous part. With DATALOADER.BROKEN_IMAGES skip, files that cannot
        be decoded are reported instead of raising an error.

        Raises:
            InputError: a file cannot be decoded, or a feature is not finite.
        """
        for batch in build_path_loader(self.cfg, list(map(str, paths))):
            yield Extracted(batch["indices"].numpy(), self._forward(batch["images"]).numpy(), batch["broken_paths"])

    def attention(self, images: Sequence[ImageLike]) -> AttentionMaps:
        """Where SA and GLCA look in one or more images; see ``DCAL.attention_maps``.

        Raises:
            InputError: as for a call; also a backbone without a CLS token, or a network other than DCAL.
        """
        return self.attention_of(self.preprocess(images))

    def attention_of(self, inputs: Tensor) -> AttentionMaps:
        """:meth:`attention` for what :meth:`preprocess` returns, for callers that also show these images."""
        check_attention(self.model)
        parts = zip(*(self.model.attention_maps(some) for some in inputs.split(_TOGETHER)), strict=True)
        return AttentionMaps(*(None if part[0] is None else torch.cat(part) for part in parts))

    @torch.no_grad()
    def _forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) uint8 -> (n, D) float32 on the CPU."""
        if not len(images):
            return torch.empty((0, self.dim))
        with autocast(self.cfg):
            outputs = mean_over_flip(lambda some: self.model(some).float(), images, self.cfg.TEST.FLIP.ENABLED)
        outputs = outputs.cpu()
        if not outputs.isfinite().all():
            raise InputError("a feature is NaN or infinite; the weights are broken, or SOLVER.AMP.DTYPE is too coarse")
        return outputs
