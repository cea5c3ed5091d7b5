"""Ranks that ``mpiexec`` has started, or Slurm's ``srun``.

Source: MPI Forum, "MPI: A Message-Passing Interface Standard", version 4.1.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, namespace_name
from xpnet.checks import import_library
from xpnet.errors import InputError
from xpnet.parallel.compression import pack, unpack
from xpnet.parallel.cores import available, share
from xpnet.parallel.group import HostGroup
from xpnet.parallel.launch import launched
from xpnet.parallel.nccl import nccl_sum
from xpnet.parallel.watch import LIMIT, Watch

_SLICE = 2**22  # values at once: between processes of one machine two thirds of the time that all of 45 MB take
_INSTALL = 'Install both with: pip install "xpnet[mpi]"; or leave parallel out.'


class MPIGroup(HostGroup):
    """The ranks of MPI's world; CuPy arrays are summed by NCCL where there is one, others in the host's memory.

    Raises InputError where mpi4py or an MPI library is missing, or is another one than that of ``mpiexec``; later
    ConnectionError if another rank cannot be reached.
    """

    def __init__(self) -> None:
        self._mpi = _library()
        self._world = self._mpi.COMM_WORLD.Dup()  # nobody else's messages are taken for ours
        self.rank, self.size = self._world.rank, self._world.size
        expected = launched().ranks
        if self.size == 1 < expected:
            raise InputError(
                f"parallel='mpi': expected {expected} ranks as they were started, got one that finds no other. "
                "Start them with the mpiexec of the MPI library that mpi4py loads, or Slurm's with srun --mpi=pmi2 or "
                "--mpi=pmix."
            )
        machine = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank = machine.rank
        own = available()
        cores = sorted(set().union(*machine.allgather(own)))
        is_bound = len(own) < len(cores)  # by the launcher
        self.cores = own if is_bound else share(cores, machine.rank, machine.size)
        self.threads = max(len(cores) // machine.size, 1)
        self._watch = Watch(self._give_up)
        self._asked_nccl, self._by_nccl = False, None

    def all_reduce(self, array: Array, dtype: str | None = None) -> Array:
        """The sum of all ranks' arrays, on each of them; the array may be overwritten."""
        if namespace_name(array) != "cupy" or dtype == "bfloat16":  # which CuPy does not have
            return super().all_reduce(array, dtype)
        if not self._asked_nccl:
            self._asked_nccl, self._by_nccl = True, nccl_sum(self)
        return self._by_nccl(array, dtype) if self._by_nccl else super().all_reduce(array, dtype)

    def sum_in_place(self, buffer: np.ndarray, dtype: str | None = None) -> None:
        """Replace the buffer by the sum of all ranks' buffers, which are sent in their own dtype or in another one."""
        values = buffer.reshape(-1)
        for start in range(0, values.size, _SLICE):
            part = values[start : start + _SLICE]
            if dtype:
                self._sum_packed(part, dtype)
            else:
                self._call(self._world.Allreduce, self._mpi.IN_PLACE, part)

    def _sum_packed(self, values: np.ndarray, dtype: str) -> None:
        """Each rank adds up its share of the values, in float32, and sends the sum to all: they have the same bits."""
        padded = np.zeros((self.size, -(-values.size // self.size)), np.float32)
        padded.reshape(-1)[: values.size] = values
        bits = pack(padded, dtype)
        received = np.empty_like(bits)
        self._call(self._world.Alltoall, bits, received)
        self._call(self._world.Allgather, pack(unpack(received, dtype).sum(axis=0), dtype), bits)
        values[:] = unpack(bits, dtype).reshape(-1)[: values.size]

    def copy_from(self, buffer: np.ndarray, root: int) -> None:
        """Replace the buffer by that of one rank."""
        self._call(self._world.Bcast, buffer, root)

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        buffer = np.array(number, np.int64)
        self._call(self._world.Allreduce, self._mpi.IN_PLACE, buffer, self._mpi.MAX)
        return int(buffer)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self._call(self._world.Barrier)

    def abort(self, code: int) -> None:
        """End all ranks at once with an exit code."""
        self._world.Abort(code)

    def set_patience(self, is_patient: bool) -> None:
        """Whether another rank may take minutes to answer, as where it loads or compiles; at first it may."""
        self._watch.is_patient = is_patient

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call what all ranks call. Raises ConnectionError if MPI cannot do it, as where another rank was killed."""
        try:
            with self._watch:
                function(*arguments)
        except self._mpi.Exception as error:
            reason = str(error).partition("\n")[0].partition(", error stack")[0]
            raise ConnectionError(
                f"MPI: expected all ranks to answer, got an error ({reason}). See whether another rank has ended."
            ) from error

    def _give_up(self) -> None:
        text = (
            f"error: rank {self.rank}: expected all ranks to answer within {self._watch.limit:g} s, one has not. "
            f"See what it does; {LIMIT} sets the seconds."
        )
        print(text, file=sys.stderr, flush=True)
        self.abort(1)


def _library() -> Any:
    import_library("mpi4py", f"parallel='mpi': mpi4py is not installed, nor perhaps an MPI library. {_INSTALL}")
    try:
        return importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"parallel='mpi': mpi4py finds no MPI library ({reason}). {_INSTALL}") from error
