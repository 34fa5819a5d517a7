"""faiss beside PyTorch on macOS."""

import functools
import sys
from collections.abc import Callable

import faiss

__all__ = ["one_thread_on_macos"]


def one_thread_on_macos(function: Callable) -> Callable:
    """``function`` with a single thread of faiss on macOS.

    There the wheels of PyTorch and faiss each bring an OpenMP; both may be loaded (see ``compat.py``), but a second
    thread of faiss crashes (pytorch/pytorch#149201, faiss-wheels/faiss-wheels#73). OpenMP keeps the number for every
    thread that calls it, those of a pool too, so each call sets it.
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        if sys.platform == "darwin":
            faiss.omp_set_num_threads(1)
        return function(*args, **kwargs)

    return call
