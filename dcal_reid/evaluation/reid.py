"""The evaluator that training and ``--eval-only`` use."""

import logging
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation.evaluator import DatasetEvaluator

from ..errors import InputError
from .broken import warn_of_broken
from .distances import Distances
from .features import FeatureSet
from .gather import gather_rows
from .matches import Matches
from .rank_list import RankList, rank_lists
from .result import RankingResult
from .scoring import check_test_options, compare, rank_compared, scoring_device

__all__ = ["DCALReidEvaluator"]

logger = logging.getLogger(__name__)


class DCALReidEvaluator(DatasetEvaluator):
    """CMC, mAP and mINP of a test set, for fast-reid's ``inference_on_dataset``.

    Batches may come in any order, from any process, twice, or with items missing: items are identified by their
    index.

    Args:
        cfg: ``cfg.TEST`` says how features are scored, ``cfg.MODEL.DEVICE`` where distances are computed.
        num_query: items of the data set with an index below this are queries, the others are the gallery.
        output_dir: folder for ``features.npz``, which ``tools/evaluate_features.py`` can score again; None: not saved.

    Raises:
        InputError: an invalid option in ``cfg.TEST``.
    """

    def __init__(self, cfg: CfgNode, num_query: int, output_dir: str | None = None):
        check_test_options(cfg.TEST)
        self._test = cfg.TEST
        self._device = scoring_device(cfg)
        self._num_query = num_query
        self._output_dir = None if output_dir is None else Path(output_dir)
        self.reset()

    def reset(self) -> None:
        self._batches: list[dict[str, np.ndarray]] = []
        self._broken: set[str] = set()
        self._result: RankingResult | None = None
        self._features: FeatureSet | None = None
        self._compared: tuple[Distances, Matches] | None = None

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        """Store the features of one batch.

        Args:
            inputs: ``targets`` (B,) identities, ``camids`` (B,), ``indices`` (B,) positions in the data set, and
                ``img_paths``, a list of B paths; and ``broken_paths``, the paths of images that could not be decoded,
                if there are any.
            outputs: (B, D) features.

        Raises:
            InputError: no ``indices``, or different numbers of features and labels.
        """
        if "indices" not in inputs:
            raise InputError("a test batch has no 'indices', the positions in the data set; use dcal_reid's loader")
        batch = {
            "features": outputs.detach().to("cpu", torch.float32).numpy(),
            **{name: torch.as_tensor(inputs[key]).to("cpu", torch.int64).numpy() for name, key in _LABELS.items()},
            "paths": np.array(inputs["img_paths"], dtype=str),
        }
        lengths = {name: len(values) for name, values in batch.items()}
        if batch["features"].ndim != 2 or len(set(lengths.values())) != 1:
            raise InputError(f"features of shape {tuple(outputs.shape)} for a batch with {lengths}")
        self._batches.append(batch)
        self._broken.update(inputs.get("broken_paths", ()))

    def evaluate(self) -> "OrderedDict[str, float]":
        """Gather from all processes and score.

        Returns:
            On the main process ``Rank-1``, ``Rank-5``, ``Rank-10``, ``mAP``, ``mINP`` and ``metric``, the mean of mAP
            and Rank-1, and with TEST.ROC the true positive rates ``TPR@FPR=...``, all in percent. Elsewhere nothing.

        Raises:
            InputError: no features, NaN features, or no query with a match.
        """
        warn_of_broken(self._broken)
        parts = gather_rows(self._concatenated())
        self._batches = []
        if parts is None:
            return OrderedDict()
        received = len(parts["indices"])
        self._features = FeatureSet.from_parts(**parts, num_query=self._num_query)
        if received > len(self._features):
            logger.info("%d items came more than once and are counted once", received - len(self._features))
        if self._output_dir is not None:
            self._features.save(self._output_dir / "features.npz")
        self._compared = compare(self._features, self._test, self._device)
        self._result = rank_compared(*self._compared, self._test)
        logger.info(self._result.describe())
        return self._result.metrics()

    @property
    def result(self) -> RankingResult:
        """The result, query by query, in the order of the queries in :meth:`features`. After :meth:`evaluate`."""
        if self._result is None:
            raise RuntimeError("there is a result only after evaluate(), and on the main process")
        return self._result

    @property
    def compared(self) -> tuple[Distances, Matches]:
        """The distances used for ranking, and which items match. After :meth:`evaluate`."""
        _ = self.result
        return self._compared

    def features(self) -> FeatureSet:
        """The features that were scored, with identities, cameras and paths. After :meth:`evaluate`."""
        if self._features is None:
            raise RuntimeError("there are features only after evaluate(), and on the main process")
        return self._features

    def rank_lists(self, queries, k: int = 10) -> list[RankList]:
        """The first ``k`` gallery items of some queries, ranked as the metrics are. After :meth:`evaluate`.

        Args:
            queries: their positions in :attr:`result`. The gallery positions of a list are rows of
                ``features().features[features().gallery]``.

        Raises:
            InputError: a query that does not exist, or k below 1.
        """
        return rank_lists(*self.compared, queries, k)

    def _concatenated(self) -> dict[str, np.ndarray]:
        if not self._batches:
            integers = {name: np.empty(0, dtype=np.int64) for name in _LABELS}
            return {"features": np.empty((0, 0), dtype=np.float32), **integers, "paths": np.empty(0, dtype=str)}
        return {name: np.concatenate([batch[name] for batch in self._batches]) for name in self._batches[0]}


# Our name -> the key in the batch.
_LABELS = {"pids": "targets", "camids": "camids", "indices": "indices"}
