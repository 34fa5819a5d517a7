"""A dataset evaluated for its pictures: with a progress bar, and nothing written."""

from collections.abc import Iterable

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor
from tqdm import tqdm

from ..data import build_classification_test_loader
from ..data.datasets.loading import load_test_items
from ..engine.inference import autocast, mean_over_flip
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import DCALClasEvaluator, DCALReidEvaluator, FeatureSet
from ..task import is_classification

__all__ = ["evaluated_classes", "evaluated_features", "evaluated_retrieval"]


def evaluated_retrieval(predictor: Predictor, dataset: str) -> DCALReidEvaluator:
    """Queries and gallery of a registered dataset, scored as TEST of the predictor's configuration says.

    Raises:
        InputError: a model for classification, or a dataset or an image that cannot be used.
    """
    if is_classification(predictor.cfg):
        raise InputError(
            f"MODEL.HEADS.NAME {predictor.cfg.MODEL.HEADS.NAME} is for classification, which has no rank lists; "
            "give a model for re-identification"
        )
    items, num_query = load_test_items(predictor.cfg, dataset)
    evaluator = DCALReidEvaluator(predictor.cfg, num_query)
    pids, camids = (np.array([item[column] for item in items]) for column in (1, 2))
    paths = np.array([path for path, *_ in items])
    for part in _progress(predictor.extract(paths.tolist()), dataset, predictor.cfg, len(items)):
        rows = part.indices
        _process(evaluator, part.features, pids[rows], camids[rows], rows, paths[rows])
    evaluator.evaluate()
    return evaluator


def evaluated_features(features: str, cfg: CfgNode) -> DCALReidEvaluator:
    """The same of ``features.npz`` that an evaluation wrote, without the model.

    Raises:
        InputError: a file or options that cannot be used.
    """
    data = FeatureSet.load(features)
    evaluator = DCALReidEvaluator(cfg, data.num_query)
    _process(evaluator, data.features, data.pids, data.camids, data.indices, data.paths)
    evaluator.evaluate()
    return evaluator


def evaluated_classes(predictor: Predictor, dataset: str) -> DCALClasEvaluator:
    """The test images of a registered dataset for classification, all branches combined and each.

    Raises:
        InputError: another task, classes other than the model's, or an image that cannot be used.
    """
    cfg, model = predictor.cfg, predictor.model
    loader, class_names = build_classification_test_loader(cfg, dataset)
    if predictor.class_names not in (None, class_names):
        raise InputError(
            f"the model knows {len(predictor.class_names)} classes, which are not the {len(class_names)} of dataset "
            f"{dataset}; evaluate it on the dataset it was trained on"
        )
    branches = model.inference.split("+")
    evaluator = DCALClasEvaluator(class_names, branches)

    def scores(images: Tensor) -> Tensor:  # (B, b, classes)
        return torch.stack(list(model.branch_outputs(images).values()), dim=1)

    for batch in _progress(loader, dataset, cfg, len(loader.dataset)):
        if not len(batch["images"]):
            continue
        with torch.no_grad(), autocast(cfg):
            outputs = mean_over_flip(scores, batch["images"], cfg.TEST.FLIP.ENABLED)
        evaluator.process(batch, outputs)
    evaluator.evaluate()
    return evaluator


def _process(evaluator: DCALReidEvaluator, features, pids, camids, indices, paths) -> None:
    """Arrays of n rows each, as a batch."""
    labels = {"targets": pids, "camids": camids, "indices": indices}
    evaluator.process(labels | {"img_paths": paths.tolist()}, torch.from_numpy(features))


def _progress(batches: Iterable, dataset: str, cfg: CfgNode, images: int) -> tqdm:
    return tqdm(batches, dataset, total=-(-images // cfg.TEST.IMS_PER_BATCH), unit="batch")
