"""From a set of features and the options in ``cfg.TEST`` to a ranking result; no model is needed."""

from fastreid.config import CfgNode

from ..errors import InputError
from .distances import METRICS
from .features import FeatureSet
from .ranking import AP_KINDS, rank_features
from .result import RankingResult

__all__ = ["ROC_FPRS", "check_test_options", "score"]

# The false positive rates that fast-reid reports.
ROC_FPRS = (1e-4, 1e-3, 1e-2)


def check_test_options(test: CfgNode) -> None:
    """Refuse what cannot be evaluated, before features are extracted.

    Raises:
        InputError: which key of ``cfg.TEST`` is wrong.
    """
    if test.METRIC == "jaccard":
        raise InputError("TEST.METRIC jaccard is not a metric of features; use cosine or euclidean with TEST.RERANK")
    if test.METRIC not in METRICS:
        raise InputError(f"TEST.METRIC is {test.METRIC!r}; use one of {', '.join(METRICS)}")
    if test.AP not in AP_KINDS:
        raise InputError(f"TEST.AP is {test.AP!r}; use one of {', '.join(AP_KINDS)}")


def score(data: FeatureSet, test: CfgNode, device: str = "cpu") -> RankingResult:
    """Evaluate features as ``cfg.TEST`` says: METRIC, AP, ROC.

    Raises:
        InputError: see :func:`check_test_options` and :func:`~dcal_reid.evaluation.ranking.rank`.
    """
    check_test_options(test)
    query, gallery = data.query, data.gallery
    return rank_features(
        data.features[query], data.features[gallery],
        data.pids[query], data.pids[gallery], data.camids[query], data.camids[gallery],
        metric=test.METRIC, ap=test.AP, fprs=ROC_FPRS if test.ROC.ENABLED else (), device=device,
    )  # fmt: skip
