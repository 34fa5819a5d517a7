"""Requests that wait for the model at the same time are batched."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Batcher"]

Item, Result = TypeVar("Item"), TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Call ``function`` in one thread, each time with the items that arrived since the last call, at most ``size``.

    No item waits for a batch to fill: one that arrives alone is computed alone. If a batch fails, its items are
    computed again, one by one.

    Args:
        function: a list of items -> their results in the same order.
        size: maximum number of items in a call.
        worker: an executor of one thread; batchers may share it.

    Attributes:
        calls, items: how many there have been, including those of failed batches.
    """

    def __init__(
        self, function: Callable[[list[Item]], Sequence[Result]], size: int, worker: ThreadPoolExecutor
    ) -> None:
        self._function, self._size, self._worker = function, size, worker
        self._waiting: deque[tuple[Item, Future]] = deque()
        self.calls = self.items = 0

    def __call__(self, item: Item) -> Result:
        """The result of one item; blocks the calling thread.

        Raises:
            Exception: whatever ``function`` raises for this item.
        """
        future: Future = Future()
        self._waiting.append((item, future))
        self._worker.submit(self._run)
        return future.result()

    def _run(self) -> None:
        """Compute the waiting items, if no earlier call has taken them."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._size))]
        if batch:
            self._compute(batch)

    def _compute(self, batch: list[tuple[Item, Future]]) -> None:
        self.calls += 1
        self.items += len(batch)
        try:
            results = self._function([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            # One bad item must not fail the others.
            for pair in batch:
                self._compute([pair])
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
