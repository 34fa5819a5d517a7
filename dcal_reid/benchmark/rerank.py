"""Re-ranking: ours against the products that its neighbours need, faiss' search for them, and fast-reid's."""

import faiss
import numpy as np
from fastreid.evaluation.rerank import re_ranking

from ..evaluation import FeatureSet
from ..evaluation.faiss_threads import one_thread_on_macos
from ..evaluation.matches import find_matches
from ..evaluation.ranking import rank, rank_features
from ..evaluation.rerank import RerankedDistances, RerankOptions
from .measure import describe_environment, measure, megabytes, print_table, use_device
from .ranking import distance_products
from .synthetic import synthetic

__all__ = ["benchmark_rerank"]


def benchmark_rerank(
    size: str, dim: int = 1536, noise: float | None = None, repeats: int = 3, dense: bool = False, device: str = "cpu"
) -> dict[str, float]:
    """Print a table: from features to metrics by re-ranked distances.

    Args:
        size, dim, noise, repeats, device: see :func:`~dcal_reid.benchmark.ranking.benchmark_ranking`.
        dense: run fast-reid's dense implementation once. It takes a minute and 9 GB at the size of Market-1501.

    Returns:
        the ratios of the table.
    """
    device = use_device(device)
    print(describe_environment())
    data, options = synthetic(size, dim, noise), RerankOptions()
    matches = find_matches(*data.labels)
    unit = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)

    def ours():
        return rank(RerankedDistances(data.features, data.num_query, options, device=device), matches)

    @one_thread_on_macos
    def neighbours_of_faiss():
        index = faiss.IndexFlatIP(dim)
        index.add(unit)
        index.search(unit, options.k1 + 1)

    ways = {
        "ours": ours,
        "neighbour products alone": lambda: distance_products(unit, unit, device),
        "neighbours by faiss (Flat) alone": neighbours_of_faiss,
    }
    found = measure(ways, repeats)
    if dense:
        found |= measure({"fast-reid, dense": lambda: _dense(unit, data, options)}, 1)
    mine, before = found["ours"], rank_features(data.features[data.query], data.features[data.gallery], *data.labels)
    ratios = {name: mine.seconds / way.seconds for name, way in found.items()}
    print_table(
        f"Re-ranking, {data.num_query:,} x {len(unit) - data.num_query:,}, {dim}-d, "
        f"mAP {before.mAP:.3f} -> {mine.result.mAP:.3f}",
        ["way", "seconds", "ours / it", "peak memory above the inputs (MB)"],
        [[name, way.seconds, ratios[name], megabytes(way.memory)] for name, way in found.items()],
    )
    return ratios


def _dense(unit: np.ndarray, data: FeatureSet, options: RerankOptions) -> np.ndarray:
    query, gallery = unit[data.query], unit[data.gallery]
    distances = (
        np.sqrt(np.maximum(2 - 2 * a @ b.T, 0)) for a, b in ((query, gallery), (query, query), (gallery, gallery))
    )
    return re_ranking(*distances, options.k1, options.k2, options.weight)
