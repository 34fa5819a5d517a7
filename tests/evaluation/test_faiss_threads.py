import sys
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from dcal_reid.evaluation.faiss_threads import one_thread_on_macos
from dcal_reid.evaluation.index import FaissGallery
from dcal_reid.evaluation.recall import exact_nearest
from dcal_reid.evaluation.records import Records
from dcal_reid.evaluation.scaled import ScaledFeatures

pytestmark = pytest.mark.usefixtures("faiss_on_one_thread")


def records(count):
    return Records([str(number) for number in range(count)], *np.zeros((2, count), dtype=int))


def in_a_pool(call):
    """What ``call`` returns, and how many threads faiss has afterwards, in a thread that started with three."""

    def asked_for_three():
        faiss.omp_set_num_threads(3)
        return call(), faiss.omp_get_max_threads()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asked_for_three).result()


@pytest.mark.parametrize(("platform", "threads"), [("darwin", 1), ("linux", 3), ("win32", 3)])
def test_macos_has_one_thread(platform, threads, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert in_a_pool(one_thread_on_macos(faiss.omp_get_max_threads)) == (threads, threads)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16"])
def test_whatever_a_gallery_asks_of_faiss_is_done_by_one_thread_on_macos(factory, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    features, gallery = np.random.default_rng(0).random((200, 8), dtype=np.float32), FaissGallery(8, factory=factory)
    gallery.add(features, records(200))
    for call in (
        lambda: gallery.add(features[:2], records(2)),
        lambda: gallery.search(features, 3),
        lambda: gallery.search(features, 3, ["0"]),
        lambda: exact_nearest(ScaledFeatures(features, "cosine"), np.arange(9), 3),
        lambda: gallery.remove([0]),
    ):
        assert in_a_pool(call)[1] == 1
