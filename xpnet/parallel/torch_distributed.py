"""Ranks that ``torchrun`` has started, with any array library. Source: PyTorch, "torch.distributed"."""

from __future__ import annotations

import atexit
import os
from datetime import timedelta
from typing import Any

import numpy as np

from xpnet.backend import Array, namespace_name
from xpnet.checks import import_library
from xpnet.errors import InputError
from xpnet.parallel.cores import available, share
from xpnet.parallel.group import HostGroup
from xpnet.parallel.watch import PATIENT, time_limit


class TorchGroup(HostGroup):
    """The ranks of torch.distributed: NCCL between tensors on GPUs, Gloo between arrays of the host.

    Raises InputError without PyTorch, or if ``torchrun`` has not started this process.
    """

    def __init__(self) -> None:
        self._torch = import_library(
            "torch", "parallel='torch': PyTorch is not installed. Install it with: pip install \"xpnet[torch]\"."
        )
        self._comm: Any = self._torch.distributed
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise InputError(
                "parallel='torch': expected a process that torchrun has started, got another. Use torchrun."
            )
        kinds = "cpu:gloo,cuda:nccl" if self._torch.cuda.is_available() else "gloo"
        self._comm.init_process_group(kinds, timeout=timedelta(seconds=time_limit() or PATIENT))
        # Otherwise Gloo's threads may outlive what they need, and end the process by SIGABRT (PyTorch's issue 190489).
        atexit.register(self._leave)
        self.rank, self.size = self._comm.get_rank(), self._comm.get_world_size()
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.cores = share(available(), self.local_rank, int(os.environ["LOCAL_WORLD_SIZE"]))
        self.threads = len(self.cores)

    def all_reduce(self, array: Array, dtype: str | None = None) -> Array:
        """The sum of all ranks' arrays, on each of them; the array may be overwritten."""
        if namespace_name(array) != "torch" or array.device.type != "cuda":
            return super().all_reduce(array, dtype)
        return self._sum_tensors(array, dtype)

    def sum_in_place(self, buffer: np.ndarray, dtype: str | None = None) -> None:
        """Replace the buffer by the sum of all ranks' buffers, which are sent in their own dtype or in another one."""
        self._sum_tensors(self._torch.from_numpy(buffer), dtype)

    def _sum_tensors(self, tensor: Any, dtype: str | None) -> Any:
        sent = tensor.to(getattr(self._torch, dtype)) if dtype else tensor
        self._comm.all_reduce(sent)
        return tensor.copy_(sent) if dtype else tensor

    def copy_from(self, buffer: np.ndarray, root: int) -> None:
        """Replace the buffer by that of one rank."""
        self._comm.broadcast(self._torch.from_numpy(buffer), root)

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        values = self._torch.tensor([number], dtype=self._torch.int64)
        self._comm.all_reduce(values, self._comm.ReduceOp.MAX)
        return int(values)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self._comm.barrier()

    def abort(self, code: int) -> None:
        """End this rank at once with an exit code; torchrun then ends the others."""
        os._exit(code)

    def _leave(self) -> None:
        if self._comm.is_initialized():  # a program may have left it itself
            self._comm.destroy_process_group()
