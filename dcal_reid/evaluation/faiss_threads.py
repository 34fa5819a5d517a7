"""faiss in one process with PyTorch on macOS."""

import functools
import sys
from collections.abc import Callable

import faiss

__all__ = ["one_thread_on_macos"]


def one_thread_on_macos(function: Callable) -> Callable:
    """Run ``function`` with a single faiss thread on macOS.

    The macOS wheels of PyTorch and faiss each ship their own OpenMP; both may be loaded (see ``compat.py``), but a
    second faiss thread crashes (pytorch/pytorch#149201, faiss-wheels/faiss-wheels#73). OpenMP stores the number of
    threads per calling thread, including those of a pool, so each call sets it.
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        if sys.platform == "darwin":
            faiss.omp_set_num_threads(1)
        return function(*args, **kwargs)

    return call
