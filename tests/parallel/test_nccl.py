"""What NCCL is asked for, with a stand-in for it: no machine of these tests has two GPUs."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from xpnet.parallel import Group
from xpnet.parallel.nccl import nccl_sum

IDENTIFIER = tuple(range(-64, 64))


class Second(Group):
    """Rank 1 of 2, which is told rank 0's identifier."""

    rank, size = 1, 2

    def broadcast(self, array: np.ndarray, root: int = 0) -> np.ndarray:
        assert array.shape == (128,)
        return np.array(IDENTIFIER)


class First(Group):
    rank, size = 0, 2


class OnDevice:
    """Five numbers of CuPy, of which another dtype lies elsewhere."""

    def __init__(self, address: int, dtype: str) -> None:
        self.data, self.size, self.dtype = SimpleNamespace(ptr=address), 5, np.dtype(dtype)

    def astype(self, dtype: str | np.dtype, copy: bool) -> OnDevice:
        return self if self.dtype == dtype and not copy else OnDevice(self.data.ptr + 1, str(np.dtype(dtype)))


@pytest.fixture
def nccl(monkeypatch):
    """A module like cupy.cuda.nccl that keeps what it is asked for."""
    fake = ModuleType("cupy.cuda.nccl")
    fake.calls = []

    class Communicator:
        def __init__(self, *arguments: object) -> None:
            fake.calls.append(arguments)

        def allReduce(self, *arguments: object) -> None:  # noqa: N802 (CuPy's name)
            fake.calls.append(arguments)

    fake.NcclCommunicator, fake.get_unique_id = Communicator, lambda: IDENTIFIER
    fake.NCCL_UNIQUE_ID_BYTES, fake.NCCL_SUM = 128, 0
    fake.NCCL_FLOAT16, fake.NCCL_FLOAT32, fake.NCCL_FLOAT64 = 6, 7, 8
    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=99))
    for name, module in (("cupy", cupy), ("cupy.cuda", ModuleType("cupy.cuda")), ("cupy.cuda.nccl", fake)):
        monkeypatch.setitem(sys.modules, name, module)
    return fake


@pytest.mark.parametrize("group", [First(), Second()])
def test_ranks_meet_by_the_first_ones_identifier_and_sum_in_place(nccl, group):
    summed = nccl_sum(group)
    array = OnDevice(1234, "float64")
    assert summed is not None
    assert summed(array, None) is array
    assert summed(array, "float16").dtype == "float64"
    assert nccl.calls == [(2, IDENTIFIER, group.rank), (1234, 1234, 5, 8, 0, 99), (1235, 1235, 5, 6, 0, 99)]


def test_without_nccl_there_is_one_warning(nccl, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", None)
    with caplog.at_level(logging.WARNING, "xpnet"):
        assert nccl_sum(First()) is None
        assert nccl_sum(Second()) is None
    assert len(caplog.records) == 1


def test_two_ranks_on_one_gpu_are_a_warning_too(nccl, caplog):
    def refuse(*arguments: object) -> None:
        raise RuntimeError("NCCL_ERROR_INVALID_USAGE: invalid usage\nmore")

    nccl.NcclCommunicator = refuse
    with caplog.at_level(logging.WARNING, "xpnet"):
        assert nccl_sum(First()) is None
    assert "INVALID_USAGE" in caplog.text
