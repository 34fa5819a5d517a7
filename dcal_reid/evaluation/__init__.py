"""Evaluation: exact ranking, re-ranking and search."""

from .features import FeatureSet
from .ranking import rank_features, rank_matrix
from .reid import DCALReidEvaluator
from .result import RankingResult
from .scoring import score

__all__ = ["DCALReidEvaluator", "FeatureSet", "RankingResult", "rank_features", "rank_matrix", "score"]
