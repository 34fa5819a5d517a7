"""Pictures of what a model looks at and of what it finds; they need matplotlib and OpenCV."""

from .attention import draw_attention
from .confusion import draw_confusion
from .predictions import Prediction, draw_predictions
from .rank_list import RankRow, draw_rank_lists

__all__ = [
    "Prediction",
    "RankRow",
    "draw_attention",
    "draw_confusion",
    "draw_predictions",
    "draw_rank_lists",
]
