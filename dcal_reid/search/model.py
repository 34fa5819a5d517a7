"""The model that the tools for features use."""

import argparse

from ..engine.arguments import predictor_from
from ..engine.predictor import Predictor
from ..errors import InputError
from ..task import is_classification

__all__ = ["feature_predictor"]


def feature_predictor(args: argparse.Namespace) -> Predictor:
    """The model that the command line names.

    Raises:
        InputError: see ``Predictor``; also a model for classification, whose outputs are not features.
    """
    predictor = predictor_from(args)
    if is_classification(predictor.cfg):
        raise InputError(
            f"MODEL.HEADS.NAME is {predictor.cfg.MODEL.HEADS.NAME}: this model gives probabilities of classes, which "
            "are not compared by distance; use a model for re-identification"
        )
    return predictor
