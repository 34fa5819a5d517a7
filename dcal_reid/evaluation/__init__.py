"""Evaluation: exact ranking, re-ranking, search in galleries, and classification."""

from .classification import ClassificationResult
from .features import FeatureSet
from .fgvc import DCALClasEvaluator
from .fingerprint import model_fingerprint
from .gallery import Gallery, Hits
from .index import FaissGallery
from .rank_list import RankList, rank_lists
from .ranking import rank_features, rank_matrix
from .records import Records
from .reid import DCALReidEvaluator
from .result import RankingResult
from .scoring import score

__all__ = [
    "ClassificationResult",
    "DCALClasEvaluator",
    "DCALReidEvaluator",
    "FaissGallery",
    "FeatureSet",
    "Gallery",
    "Hits",
    "RankList",
    "RankingResult",
    "Records",
    "model_fingerprint",
    "rank_features",
    "rank_lists",
    "rank_matrix",
    "score",
]
