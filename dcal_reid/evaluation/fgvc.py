"""The evaluator for classification."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from fastreid.evaluation.evaluator import DatasetEvaluator
from torch import Tensor

from ..errors import InputError
from .broken import warn_of_broken
from .classification import ClassificationResult
from .gather import gather_rows

__all__ = ["DCALClasEvaluator"]

logger = logging.getLogger(__name__)

# The number of classes whose probabilities are kept for each image.
_TOP = 5


class DCALClasEvaluator(DatasetEvaluator):
    """Top-1, top-5 and per-class accuracy, for all branches combined and for each, for ``inference_on_dataset``.

    Batches may come in any order, from any process, twice, or with items missing: items are identified by their
    index.

    Args:
        class_names: the names of the classes, by label.
        branches: the branches along the second dimension of the model's outputs, for instance ("sa", "glca").
    """

    def __init__(self, class_names: Sequence[str], branches: Sequence[str]):
        self._class_names = tuple(class_names)
        self._branches = tuple(branches)
        self.reset()

    def reset(self) -> None:
        self._batches: list[dict[str, np.ndarray]] = []
        self._broken: set[str] = set()
        self._result: ClassificationResult | None = None
        # A process without images still takes part in evaluate().
        nothing = {"targets": [], "indices": [], "img_paths": []}
        self.process(nothing, torch.empty(0, len(self._branches), len(self._class_names)))

    def process(self, inputs: dict, outputs: Tensor) -> None:
        """Store what is needed from one batch.

        Args:
            inputs: ``targets`` (B,) labels, ``indices`` (B,) positions in the data set, ``img_paths``; and
                ``broken_paths``, the paths of images that could not be decoded, if there are any.
            outputs: (B, b, C) probabilities by branch, which add up to the combined prediction.

        Raises:
            InputError: another shape, or scores that are NaN or infinite.
        """
        expected = (len(inputs["targets"]), len(self._branches), len(self._class_names))
        if outputs.shape != expected:
            raise InputError(f"scores are {tuple(outputs.shape)}; {expected} belong to this batch and these classes")
        scores = outputs.detach().to("cpu", torch.float32)
        if not scores.isfinite().all():
            broken = (~scores.isfinite()).flatten(1).any(dim=1).nonzero()[0].item()
            raise InputError(
                f"the scores of {inputs['img_paths'][broken]} are NaN or infinite; the weights are broken, or the "
                "precision is too low"
            )
        self._broken.update(inputs.get("broken_paths", ()))
        labels = torch.as_tensor(inputs["targets"]).to("cpu", torch.int64)
        combined = scores.sum(dim=1, keepdim=True)
        columns = torch.cat([combined, scores], dim=1) if len(self._branches) > 1 else combined  # (B, 1 + b, C)
        # In a tie, the class that comes first wins.
        order = columns.argsort(dim=2, descending=True, stable=True)
        self._batches.append(
            {
                "indices": torch.as_tensor(inputs["indices"]).to("cpu", torch.int64).numpy(),
                "labels": labels.numpy(),
                "predicted": order[:, :, 0].numpy(),
                "rank": 1 + (order == labels[:, None, None]).int().argmax(dim=2).numpy().astype(np.int64),
                "top": order[:, 0, :_TOP].numpy(),
                "probabilities": (combined[:, 0].gather(1, order[:, 0, :_TOP]) / len(self._branches)).numpy(),
                "paths": np.array(inputs["img_paths"], dtype=str),
            }
        )

    def evaluate(self) -> "OrderedDict[str, float]":
        """Gather from all processes and count each image once.

        Returns:
            On the main process the metrics in percent (see ``ClassificationResult.metrics``), elsewhere nothing.

        Raises:
            InputError: no image was processed.
        """
        warn_of_broken(self._broken)
        parts = gather_rows(
            {name: np.concatenate([batch[name] for batch in self._batches]) for name in self._batches[0]}
        )
        if parts is None:
            return OrderedDict()
        if not len(parts["labels"]):
            raise InputError("no test image could be used; see the messages above")
        _, first = np.unique(parts.pop("indices"), return_index=True)
        branches = self._branches if len(self._branches) > 1 else ()
        self._result = ClassificationResult(
            **{name: values[first] for name, values in parts.items()}, class_names=self._class_names, branches=branches
        )
        logger.info(self._result.describe())
        return self._result.metrics()

    @property
    def result(self) -> ClassificationResult:
        """The result, image by image. Available after :meth:`evaluate` on the main process."""
        if self._result is None:
            raise RuntimeError("there is a result only after evaluate(), and on the main process")
        return self._result
