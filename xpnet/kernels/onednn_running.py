"""Plans of oneDNN, found and run: each thread's own, kept by what they compute; what happens where one fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from xpnet.kernels import sharing
from xpnet.kernels.onednn_library import OneDNNError, Plan, Scratch, Threads, UnsupportedError
from xpnet.kernels.onednn_loading import load
from xpnet.kernels.onednn_plans import BatchNorm, Convolution, Pooling
from xpnet.kernels.table import KernelError

_MOST_PLANS = 512  # of a thread; a ResNet-101 has about 150
_has_failed = False


def has_failed() -> bool:
    """Whether a primitive has failed in this process, after which oneDNN serves nothing any more."""
    return _has_failed


def has_plan(operation: str, description: Any, *others: np.ndarray) -> bool:
    """Whether oneDNN has a fast kernel for an operation, and can read the other arrays that it takes."""
    return all(array.dtype == np.float32 for array in others) and find(operation, description) is not None


def plan_of(operation: str, description: Any) -> Plan:
    """The plan for what a module has said it serves; KernelError if there is none after all."""
    plan = find(operation, description)
    if plan is None:
        raise _failure(f"it has no fast kernel for {operation} of {description}")
    return plan


def run(operation: str, description: Any, *arrays: np.ndarray) -> None:
    """Find a plan and run it on arrays, in the order that its description says; KernelError if it fails."""
    execute(plan_of(operation, description), *arrays)


def execute(plan: Plan, *arrays: np.ndarray) -> None:
    """Run a plan; KernelError if it fails."""
    try:
        plan.run(*map(ready, arrays))
    except OneDNNError as error:
        raise _failure(error) from error


def _failure(reason: object) -> KernelError:
    """After a failure oneDNN serves nothing any more, and the kernels that come after it do."""
    global _has_failed
    _has_failed = True
    return KernelError(f"oneDNN failed and is no longer used: {reason}")


def ready(array: np.ndarray) -> np.ndarray:
    """The array as oneDNN takes it: without gaps, at an address that float32 may have."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=("C", "A"))


def find(operation: str, description: Convolution | Pooling | BatchNorm) -> Plan | None:
    """The calling thread's plan for an operation, a method of its description; None where oneDNN has no fast one."""
    if _mine.find is None:
        _mine.find = lru_cache(_MOST_PLANS)(partial(_build, Scratch(load())))
    # Rows come behind a dense layer: if theirs took BLAS's threads away, its first product would be another step's.
    is_alone = _forked or (isinstance(description, BatchNorm) and len(description.shape) == 2)
    return _mine.find(operation, description, 1 if is_alone else sharing.threads())


def _build(scratch: Scratch, operation: str, description: Any, count: int) -> Plan | None:
    library = load()
    threads = Threads(library, count)
    plan = Plan(library, scratch, threads)
    if count > 1:
        sharing.give_blas_one_thread()
    with _building, threads:  # a kernel is made for so many threads
        try:
            getattr(description, operation)(library, plan)
        except UnsupportedError:
            return None
    return plan


class _Mine(threading.local):
    """What each thread finds its own plans by."""

    find: Callable[..., Plan | None] | None = None


_mine = _Mine()
_building = threading.Lock()
_forked = False


def _after_fork() -> None:
    """OpenMP's threads are not in the child, which would wait for them; one thread needs none."""
    global _forked
    _building.release()
    _forked = True


if hasattr(os, "register_at_fork"):  # a lock that another thread holds inside the library would stay locked for ever
    os.register_at_fork(before=_building.acquire, after_in_parent=_building.release, after_in_child=_after_fork)
