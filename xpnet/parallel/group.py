"""What ranks can do with each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import numpy as np

from xpnet.backend import Array, backend_of, is_traced, to_numpy
from xpnet.compile import on_host


class Group:
    """The ranks of a training, seen from one of them; this class is a process that has no others.

    ``rank`` counts from 0 to ``size`` - 1, ``local_rank`` from 0 among those on the same machine, of whose cores
    ``threads`` are for each, and ``cores`` for this one (None: all). Every method but ``rows``, ``abort`` and
    ``set_patience`` has to be called by all ranks in the same order.
    """

    rank, size, local_rank = 0, 1, 0
    threads: int | None = None
    cores: Sequence[int] | None = None

    def rows(self, count: int) -> slice:
        """Those of so many rows that are this rank's; of any two ranks, one has at most one more than the other."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce(self, array: Array, dtype: str | None = None) -> Array:
        """The sum of all ranks' arrays, on each of them; the array may be overwritten.

        With a ``dtype`` of 16 bits, addends and sum are rounded to it on their way.
        """
        return array

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        return number

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """The array of one rank, on each of them; the others give one of the same shape and dtype."""
        return array

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def abort(self, code: int) -> None:
        """End all ranks at once with an exit code."""

    def set_patience(self, is_patient: bool) -> None:
        """Whether another rank may take minutes to answer, as where it loads or compiles; at first it may."""


class HostGroup(Group, ABC):
    """Ranks that exchange arrays of the host's memory; others are copied there and back."""

    def all_reduce(self, array: Array, dtype: str | None = None) -> Array:
        """The sum of all ranks' arrays, on each of them; the array may be overwritten."""
        if is_traced(array):
            return on_host(partial(self._sum, dtype=dtype), array)
        return self._through_host(partial(self.sum_in_place, dtype=dtype), array)

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """The array of one rank, on each of them; the others give one of the same shape and dtype."""
        return self._through_host(lambda buffer: self.copy_from(buffer, root), array)

    @abstractmethod
    def sum_in_place(self, buffer: np.ndarray, dtype: str | None = None) -> None:
        """Replace the buffer by the sum of all ranks' buffers, which are sent in their own dtype or in another one."""

    @abstractmethod
    def copy_from(self, buffer: np.ndarray, root: int) -> None:
        """Replace the buffer by that of one rank."""

    def _sum(self, array: Array, dtype: str | None) -> np.ndarray:
        buffer = np.array(array)
        self.sum_in_place(buffer, dtype)
        return buffer

    @staticmethod
    def _through_host(function, array: Array) -> Array:
        buffer = np.require(to_numpy(array), requirements=["C", "W"])  # a copy only where it has to be
        function(buffer)
        return backend_of(array).asarray(buffer)
