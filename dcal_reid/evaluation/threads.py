"""Process blocks of rows with all threads: NumPy releases Python's GIL while it computes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["for_blocks"]

# The minimum number of blocks per thread. After a matrix product, its own threads busy-wait for the next product, so
# short work is faster on one thread than in competition with them.
_WORTH_A_THREAD = 16


def for_blocks(function: Callable[[int], object], count: int, size: int) -> list:
    """``[function(start) for start in range(0, count, size)]``, on as many threads as PyTorch is allowed."""
    starts = range(0, count, size)
    threads = torch.get_num_threads()
    if threads == 1 or len(starts) < _WORTH_A_THREAD * threads:
        return [function(start) for start in starts]
    results = [None] * len(starts)

    def every(offset: int) -> None:
        results[offset::threads] = [function(start) for start in starts[offset::threads]]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(every, range(threads)))
    return results
