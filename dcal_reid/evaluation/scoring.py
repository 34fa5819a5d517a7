"""From a set of features and the options in ``cfg.TEST`` to a ranking result; no model is needed."""

import torch
from fastreid.config import CfgNode

from ..errors import InputError
from .distances import Distances, FeatureDistances
from .features import FeatureSet
from .matches import Matches, find_matches
from .query_expansion import ExpansionOptions, expand
from .ranking import AP_KINDS, rank
from .rerank import RerankedDistances, RerankOptions
from .result import RankingResult
from .scaled import METRICS

__all__ = ["ROC_FPRS", "check_test_options", "compare", "rank_compared", "score", "scoring_device"]

# The false positive rates that fast-reid reports.
ROC_FPRS = (1e-4, 1e-3, 1e-2)


def check_test_options(test: CfgNode) -> None:
    """Refuse options that cannot be evaluated, before features are extracted.

    Raises:
        InputError: an invalid value in ``cfg.TEST``.
    """
    if test.METRIC == "jaccard":
        raise InputError("TEST.METRIC jaccard is not a metric of features; use cosine or euclidean with TEST.RERANK")
    if test.METRIC not in METRICS:
        raise InputError(f"TEST.METRIC is {test.METRIC!r}; use one of {', '.join(METRICS)}")
    if test.AP not in AP_KINDS:
        raise InputError(f"TEST.AP is {test.AP!r}; use one of {', '.join(AP_KINDS)}")
    if test.AQE.ENABLED:
        _expansion(test)
    if test.RERANK.ENABLED:
        _rerank(test)


def scoring_device(cfg: CfgNode) -> str:
    """Where distances are computed: on the GPU that MODEL.DEVICE names; with ``auto`` on a GPU if there is one."""
    device = "cuda" if cfg.MODEL.DEVICE == "auto" else cfg.MODEL.DEVICE
    return device if device.startswith("cuda") and torch.cuda.is_available() else "cpu"


def score(data: FeatureSet, test: CfgNode, device: str = "cpu") -> RankingResult:
    """Evaluate features as ``cfg.TEST`` says: see :func:`compare` and :func:`rank_compared`.

    Raises:
        InputError: see :func:`check_test_options` and :func:`~dcal_reid.evaluation.ranking.rank`.
    """
    return rank_compared(*compare(data, test, device), test)


def compare(data: FeatureSet, test: CfgNode, device: str = "cpu") -> tuple[Distances, Matches]:
    """The distances from queries to gallery after AQE, by METRIC or by RERANK, and which items match."""
    check_test_options(test)
    # This comes first because it refuses a test set that has nothing to rank.
    matches = find_matches(*data.labels)
    features, query, gallery = data.features, data.query, data.gallery
    if test.AQE.ENABLED:
        features = expand(features, _expansion(test), device)
    if test.RERANK.ENABLED:
        return RerankedDistances(features, query.stop, _rerank(test), test.METRIC, device), matches
    return FeatureDistances(features[query], features[gallery], test.METRIC, device), matches


def rank_compared(distances: Distances, matches: Matches, test: CfgNode) -> RankingResult:
    """Rank by these distances, with the AP and ROC options of ``cfg.TEST``."""
    return rank(distances, matches, ap=test.AP, fprs=ROC_FPRS if test.ROC.ENABLED else ())


def _expansion(test: CfgNode) -> ExpansionOptions:
    return ExpansionOptions(k=test.AQE.QE_K, alpha=test.AQE.ALPHA, times=test.AQE.QE_TIME)


def _rerank(test: CfgNode) -> RerankOptions:
    return RerankOptions(k1=test.RERANK.K1, k2=test.RERANK.K2, weight=test.RERANK.LAMBDA)
