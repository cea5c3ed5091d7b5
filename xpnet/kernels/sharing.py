"""The threads among which NumPy's kernels share large work, and how work is cut for them and for the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")

WORTH_SHARING = 2**23  # multiplications in GEMMs that take longer than waking a thread, about 50 us
_count = 1


def set_threads(count: int) -> None:
    """Share large work among so many threads of this process; results stay the same to the last bit.

    From the first time that work is shared, BLAS has one thread.
    """
    global _count
    _count = count


def threads() -> int:
    """How many threads share large work."""
    return _count


def blas_has_one_thread() -> bool:
    """Whether threads share work already."""
    return give_blas_one_thread.cache_info().currsize > 0


def parallel_map(function: Callable[[T], U], items: Sequence[T], multiplications: float) -> list[U]:
    """Results of a function for all items, among threads where all of them together take long enough.

    ``multiplications`` are as many as a GEMM does in the time that all items take.
    """
    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))

    def work() -> None:
        for number, item in waiting:
            results[number] = function(item)

    helpers = min(_count, len(items)) - 1 if multiplications >= WORTH_SHARING else 0
    # Each in a copy of this context, which holds what np.errstate was told.
    promises = [_helpers(_count - 1).submit(copy_context().run, work) for _ in range(helpers)]
    work()
    for promise in promises:
        promise.result()
    return results


def even_slices(length: int, step: int) -> list[slice]:
    """The fewest slices of at most ``step`` that cover a length, as equal as can be."""
    count = -(-length // step)
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]


@cache
def give_blas_one_thread() -> None:
    """Leave the cores to other threads from now on: both at once would wait for each other."""
    import threadpoolctl  # here: most programs never share

    threadpoolctl.threadpool_limits(limits=1, user_api="blas")


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    give_blas_one_thread()
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads, and would wait for them for ever
    os.register_at_fork(after_in_child=_helpers.cache_clear)
