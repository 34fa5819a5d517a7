"""The torch.export program: the graph for machines with PyTorch but without this package."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from ..data.images import ImageLike
from ..engine.predictor import Predictor
from ..files import written_atomically
from .agreement import require_agreement

__all__ = ["save_program"]


def save_program(
    predictor: Predictor, graph: ExportedProgram, path: str | Path, expected: np.ndarray, images: Sequence[ImageLike]
) -> None:
    """Write a graph with ``torch.export.save``, load it again, and print how well it agrees with the model.

    It runs on the device that the model is on.

    Args:
        predictor: of the model.
        graph: of the model, from ``trace``.
        path: ends in .pt2.
        expected: (n, D), features of the images.
        images: to compare on.

    Raises:
        InputError: a feature differs; no file is written in this case.
    """
    with written_atomically(path) as temporary:
        with open(temporary, "wb") as file:
            torch.export.save(graph, file)
        with open(temporary, "rb") as file:
            loaded = torch.export.load(file).module()

        def features(part: Sequence[ImageLike]) -> np.ndarray:
            device, batches = predictor.model.device, predictor.batches(part)
            with torch.no_grad():
                return torch.cat([loaded(batch.to(device)).cpu() for batch in batches]).numpy()

        result = require_agreement(str(path), expected, features, images)
    print(f"{path}: {result}")
    print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB")
