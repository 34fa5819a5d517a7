import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dcal_reid.serve.batching import Batcher


@pytest.fixture
def worker():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_items_that_wait_go_together(worker):
    calls, go, started = [], threading.Event(), threading.Event()

    def double(items):
        calls.append(len(items))
        started.set()
        assert go.wait(10)
        return [2 * item for item in items]

    batcher = Batcher(double, 4, worker)
    with ThreadPoolExecutor(10) as clients:
        first = clients.submit(batcher, 0)
        assert started.wait(10)
        others = [clients.submit(batcher, number) for number in range(1, 10)]
        while len(batcher._waiting) < 9:
            threading.Event().wait(0.01)
        go.set()
        assert [future.result(10) for future in (first, *others)] == [2 * number for number in range(10)]
    assert calls == [1, 4, 4, 1] and (batcher.calls, batcher.items) == (4, 10)


def test_one_bad_item_fails_alone(worker):
    go, started = threading.Event(), threading.Event()

    def invert(items):
        started.set()
        assert go.wait(10)
        return [1 / item for item in items]

    batcher = Batcher(invert, 8, worker)
    with ThreadPoolExecutor(4) as clients:
        futures = [clients.submit(batcher, 1)]
        assert started.wait(10)
        futures += [clients.submit(batcher, item) for item in (2, 0, 4)]
        while len(batcher._waiting) < 3:
            threading.Event().wait(0.01)
        go.set()
        with pytest.raises(ZeroDivisionError):
            futures[2].result(10)
        assert [futures[i].result(10) for i in (0, 1, 3)] == [1, 0.5, 0.25]


def test_batchers_share_a_thread(worker):
    threads = set()

    def note(items):
        threads.add(threading.get_ident())
        return items

    batchers = [Batcher(note, 2, worker) for _ in range(3)]
    with ThreadPoolExecutor(9) as clients:
        assert list(clients.map(lambda i: batchers[i % 3](i), range(30))) == list(range(30))
    assert len(threads) == 1
