"""A large gallery: build, save, re-open and search it with several faiss indexes."""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.index import FaissGallery
from ..evaluation.records import Records
from .measure import describe_environment, measure, print_table

__all__ = ["FACTORIES", "benchmark_search"]

FACTORIES = ("Flat", "IVF4096,Flat", "HNSW32", "IVF4096,PQ64")


def benchmark_search(
    items: int = 1_000_000, dim: int = 256, queries: int = 1000, factories=FACTORIES, repeats: int = 3
) -> list[list]:
    """Print a table with a row per index.

    An identity has about 20 items: a random centre and noise of half its spread.

    Args:
        items, dim: of the gallery.
        queries: searched together, each for its 10 nearest.
        factories: faiss' names of the indexes.
        repeats: searches after the first; the median is printed.

    Raises:
        InputError: a number below 1, or an index that faiss cannot build.
    """
    if min(items, dim, queries, repeats) < 1:
        raise InputError(
            f"--items {items}, --dim {dim}, --queries {queries}, --repeats {repeats}; all must be at least 1"
        )
    print(describe_environment())
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, items // 20), dim), dtype=np.float32)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        identity = rng.integers(0, len(centres), count)
        features = rng.standard_normal((count, dim), dtype=np.float32)
        features *= 0.5
        for start in range(0, count, 2**16):
            features[start : start + 2**16] += centres[identity[start : start + 2**16]]
        return features, identity

    gallery, identity = draw(items)
    wanted, _ = draw(queries)
    records = Records([f"images/{i:08d}.jpg" for i in range(items)], identity, rng.integers(0, 6, items))
    rows = [_measure(factory, gallery, records, wanted, repeats) for factory in factories]
    print_table(
        f"A gallery of {items:,} x {dim}, {queries} queries at a time, 10 nearest",
        [
            "index",
            "search",
            "recall@10",
            "queries/s",
            "build (s)",
            "save (s)",
            "open (s)",
            "on disk (MB)",
            "memory (MB)",
        ],
        rows,
    )
    return rows


def _measure(factory: str, features: np.ndarray, records: Records, queries: np.ndarray, repeats: int) -> list:
    folder = Path(tempfile.mkdtemp(prefix="gallery-"))
    try:
        start = time.perf_counter()
        gallery = FaissGallery.build(features, records, factory=factory)
        built = time.perf_counter()
        gallery.save(folder)
        saved = time.perf_counter()
        recall, options = gallery.recall, gallery.search_options
        del gallery
        opened = measure({"open": lambda: FaissGallery.open(folder)}, 1)["open"]
        search = {"search": lambda: opened.result.search(queries, 10)}
        first = measure(search, 1)["search"]  # reads from the disk
        searched = measure(search, repeats)["search"]
        memory = None if first.memory is None else round((opened.memory + first.memory) / 1e6)
        size = sum(file.stat().st_size for file in folder.iterdir())
        speed = len(queries) / searched.seconds
        exact = 1.0 if recall is None else recall
        return [factory, options, exact, speed, built - start, saved - built, opened.seconds, round(size / 1e6), memory]
    finally:
        shutil.rmtree(folder)
