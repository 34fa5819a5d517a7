"""Pictures of what a model looks at and of what it finds. The only part that imports matplotlib and OpenCV."""

from .attention import draw_attention
from .rank_list import RankList, draw_rank_lists

__all__ = ["RankList", "draw_attention", "draw_rank_lists"]
