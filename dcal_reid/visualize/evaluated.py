"""A dataset evaluated for its pictures: with a progress bar, and nothing written."""

import torch
from fastreid.config import CfgNode

from ..data.datasets.loading import load_classes
from ..engine.inference import score_dataset
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
    return score_dataset(predictor.cfg, predictor.model, dataset, progress=True)[1]


def evaluated_features(features: str, cfg: CfgNode) -> DCALReidEvaluator:
    """The same of ``features.npz`` that an evaluation wrote, without the model.

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
    """The test images of a registered dataset for classification, all branches combined and each.

    Raises:
        InputError: another task, classes other than the model's, or an image that cannot be used.
    """
    class_names = list(load_classes(predictor.cfg, dataset).class_names)
    if predictor.class_names not in (None, class_names):
        raise InputError(
            f"the model knows {len(predictor.class_names)} classes, which are not the {len(class_names)} of dataset "
            f"{dataset}; evaluate it on the dataset it was trained on"
        )
    return score_dataset(predictor.cfg, predictor.model, dataset, progress=True)[1]
