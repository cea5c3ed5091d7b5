"""Sums of CuPy arrays between GPUs by NCCL, for ranks that another engine has brought together.

Source: NVIDIA, "NCCL user guide"; CuPy, ``cupy.cuda.nccl``.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.parallel.group import Group

_log = logging.getLogger(__name__)


def nccl_sum(group: Group) -> Callable[[Array, str | None], Array] | None:
    """A function that gives the sum of all ranks' arrays of float32 or float64, computed on their device's stream.

    It takes the array, which it may overwrite, and the dtype to send and add it in: "float16", or None for its own.

    None, with a warning of rank 0, unless every rank has NCCL and a GPU of its own.
    """
    cupy = importlib.import_module("cupy")
    nccl: Any = None
    communicator: Any = None
    problem: Exception | None = None
    identifier: Any = np.zeros(0, np.int64)
    try:
        with warnings.catch_warnings(action="ignore"):  # CuPy's, of nine lines and every rank
            nccl = importlib.import_module("cupy.cuda.nccl")
        identifier = np.array(nccl.get_unique_id() if group.rank == 0 else [0] * nccl.NCCL_UNIQUE_ID_BYTES, np.int64)
    except (ImportError, AttributeError):  # CuPy leaves the module empty where the library is missing
        problem = ImportError("its library is missing: pip install nvidia-nccl-cu13, or -cu12")
    except RuntimeError as error:
        problem = error
    if not group.largest(problem is not None):
        identifier = tuple(map(int, group.broadcast(identifier)))
        try:
            communicator = nccl.NcclCommunicator(group.size, identifier, group.rank)
        except RuntimeError as error:  # such as two ranks on one GPU
            problem = error
    if group.largest(problem is not None):
        if group.rank == 0:
            reason = str(problem or "another rank has none").partition("\n")[0]
            _log.warning("NCCL cannot be used (%s): gradients go through the host's memory, by MPI.", reason)
        return None
    kinds = {"float16": nccl.NCCL_FLOAT16, "float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

    def summed(array: Array, dtype: str | None) -> Array:
        sent = array.astype(dtype or array.dtype, copy=False)
        address, stream = sent.data.ptr, cupy.cuda.get_current_stream().ptr
        communicator.allReduce(address, address, sent.size, kinds[sent.dtype.name], nccl.NCCL_SUM, stream)
        return sent.astype(array.dtype, copy=False)

    return summed
