"""The first gallery items of some queries, for pictures."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .distances import Distances
from .matches import Matches

__all__ = ["RankList", "rank_lists"]


@dataclass(frozen=True)
class RankList:
    """The k gallery items nearest to a query, nearest first, ties by gallery position, without the query's junk."""

    query: int  # position among the queries
    gallery: np.ndarray  # (k,) positions in the gallery; fewer if the gallery is smaller
    distances: np.ndarray  # (k,) 1 - cos, the euclidean distance, or the re-ranked one
    matches: np.ndarray  # (k,) bool, whether the identity is the same


def rank_lists(distances: Distances, matches: Matches, queries, k: int) -> list[RankList]:
    """The rank lists of some queries, in the order in which evaluation ranks.

    Raises:
        InputError: a query that does not exist, or k below 1.
    """
    queries = np.asarray(queries, dtype=np.int64).reshape(-1)
    if k < 1 or np.any((queries < 0) | (queries >= matches.num_query)):
        raise InputError(f"rank lists of length {k} for queries {queries.tolist()} of {matches.num_query} do not exist")
    lists = []
    for query in queries.tolist():
        _, same = matches.of_queries(slice(query, query + 1))
        junk = same[matches.junk[matches.start[query] : matches.start[query + 1]]]
        gallery, distance = distances.nearest(query, k + len(junk))
        kept = np.flatnonzero(~np.isin(gallery, junk))[:k]
        lists.append(RankList(query, gallery[kept], distances.shown(distance[kept]), np.isin(gallery[kept], same)))
    return lists
