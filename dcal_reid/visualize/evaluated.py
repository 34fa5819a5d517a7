"""Evaluate a dataset for pictures of it; no file is written."""

import torch
from fastreid.config import CfgNode

from ..engine.inference import score_dataset
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import DCALClasEvaluator, DCALReidEvaluator, FeatureSet
from ..task import is_classification

__all__ = ["evaluated_classes", "evaluated_features", "evaluated_retrieval"]


def evaluated_retrieval(predictor: Predictor, dataset: str) -> DCALReidEvaluator:
    """Queries and gallery of a registered dataset, scored as TEST in the predictor's configuration says.

    Raises:
        InputError: a model for classification, or a dataset or an image that cannot be used.
    """
    if is_classification(predictor.cfg):
        raise InputError(
            f"MODEL.HEADS.NAME {predictor.cfg.MODEL.HEADS.NAME} is for classification, which has no rank lists; "
            "give a model for re-identification"
        )
    return score_dataset(predictor.cfg, predictor.model, dataset, progress=True)[1]


def evaluated_features(features: str, cfg: CfgNode) -> DCALReidEvaluator:
    """The same from the ``features.npz`` that an evaluation wrote, without the model.

    Raises:
        InputError: a file or options that cannot be used.
    """
    data = FeatureSet.load(features)
    evaluator = DCALReidEvaluator(cfg, data.num_query)
    labels = {"targets": data.pids, "camids": data.camids, "indices": data.indices}
    evaluator.process(labels | {"img_paths": data.paths.tolist()}, torch.from_numpy(data.features))
    evaluator.evaluate()
    return evaluator


def evaluated_classes(predictor: Predictor, dataset: str) -> DCALClasEvaluator:
    """The test images of a registered dataset for classification, scored by all branches combined and by each.

    Args:
        predictor: of a classification model.

    Raises:
        InputError: a dataset for another task or with other classes, or an image that cannot be used.
    """
    return score_dataset(predictor.cfg, predictor.model, dataset, predictor.class_names, progress=True)[1]
