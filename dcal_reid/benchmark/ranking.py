"""Ranking: ours against fast-reid's, and against the distance products alone."""

from collections.abc import Callable

import numpy as np
import torch

from ..evaluation import FeatureSet
from ..evaluation.ranking import rank_features, rank_matrix
from .fastreid_cython import compiled_ranking
from .measure import describe_environment, measure, megabytes, print_table, use_device
from .synthetic import synthetic

__all__ = ["benchmark_ranking", "distance_products"]

_BLOCK = 256


def benchmark_ranking(
    size: str, dim: int = 1536, noise: float | None = None, repeats: int = 5, fastreid: bool = True, device: str = "cpu"
) -> dict[str, float]:
    """Print two tables: the whole evaluation from features, and the ranking step alone from a distance matrix.

    Args:
        size: the test set whose size is taken, see :data:`~dcal_reid.benchmark.synthetic.SIZES`.
        dim, noise: of the features, see :func:`~dcal_reid.benchmark.synthetic.synthetic`.
        repeats: runs of each way; the median is printed.
        fastreid: measure fast-reid too, compiled and in Python. For each pair it needs 4 bytes of the matrix and 8 of
            its argsort, and the Python ranking keeps 8 more.
        device: of our evaluation and of the products.

    Returns:
        the ratios of the tables.

    Raises:
        InputError: an unknown size, a device that does not exist, no repeats, or fast-reid's ranking cannot be
            compiled.
    """
    device = use_device(device)
    compiled = compiled_ranking() if fastreid else None
    print(describe_environment())
    data = synthetic(size, dim, noise)
    ratios = _from_features(data, repeats, device)
    if compiled:
        ratios |= _from_matrix(data, repeats, compiled)
    return ratios


def distance_products(query: np.ndarray, gallery: np.ndarray, device: str = "cpu"):
    """All products of queries and gallery, in blocks that are not kept: what every evaluation must compute.

    NumPy computes them on the CPU, because its product is the faster one here; see ``evaluation/products.py``.
    """
    if device == "cpu":
        out = np.empty((_BLOCK, len(gallery)), dtype=np.float32)
        for start in range(0, len(query), _BLOCK):
            block = query[start : start + _BLOCK]
            np.matmul(block, gallery.T, out=out[: len(block)])
        return
    query, gallery = (torch.from_numpy(side).to(device) for side in (query, gallery))
    for start in range(0, len(query), _BLOCK):
        torch.mm(query[start : start + _BLOCK], gallery.T)
    torch.cuda.synchronize()


def _from_features(data: FeatureSet, repeats: int, device: str) -> dict[str, float]:
    query, gallery = data.features[data.query], data.features[data.gallery]
    found = measure(
        {
            "ours": lambda: rank_features(query, gallery, *data.labels, device=device),
            "products alone": lambda: distance_products(query, gallery, device),
        },
        repeats,
    )
    ours, products = found["ours"], found["products alone"]
    ratio = ours.seconds / products.seconds
    print_table(
        f"From features to metrics, {len(query):,} x {len(gallery):,}, {query.shape[1]}-d, mAP {ours.result.mAP:.3f}",
        ["way", "seconds", "ours / it", "peak memory above the inputs (MB)"],
        [
            ["ours", ours.seconds, 1.0, megabytes(ours.memory)],
            ["products alone", products.seconds, ratio, megabytes(products.memory)],
        ],
    )
    return {"ours / products": ratio}


def _from_matrix(data: FeatureSet, repeats: int, compiled: Callable) -> dict[str, float]:
    unit = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)
    matrix = 1 - unit[data.query] @ unit[data.gallery].T
    del unit
    from fastreid.evaluation.rank import evaluate_py  # warns at import that its compiled part is missing

    found = measure(
        {
            "ours": lambda: rank_matrix(matrix, *data.labels),
            "fast-reid, Cython": lambda: compiled(matrix, *data.labels, 50),
        },
        repeats,
    )
    found |= measure({"fast-reid, Python": lambda: evaluate_py(matrix, *data.labels, 50, False)}, 1)
    ours = found["ours"]
    ratios = {name: other.seconds / ours.seconds for name, other in found.items()}
    print_table(
        f"The ranking step alone, from a {matrix.shape[0]:,} x {matrix.shape[1]:,} matrix, mAP {ours.result.mAP:.3f}",
        ["way", "seconds", "it / ours", "peak memory above the inputs (MB)"],
        [[name, way.seconds, ratios[name], megabytes(way.memory)] for name, way in found.items()],
    )
    for name in list(found)[1:]:
        difference = abs(float(np.mean(found[name].result[1])) - ours.result.mAP)
        print(f"difference of mAP to {name}: {difference:.1e}")
    return {f"{name} / ours": ratio for name, ratio in ratios.items() if name != "ours"}
