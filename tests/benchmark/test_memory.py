"""Peaks of memory: of this process for certain, of a GPU on what stands for PyTorch's and CuPy's allocators."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.benchmark import memory

MEGABYTE = 10**6


def test_a_process_counts_what_it_took_in_the_context_and_after():
    watch = memory.watch("numpy", "cpu")
    with watch:
        before = np.ones(100 * MEGABYTE, np.uint8)
        del before
    if watch.megabytes() is None:
        pytest.skip("the system does not say how much memory a process has")
    assert 90 < watch.megabytes() < 200
    with watch:
        assert watch.megabytes() < 50  # of what was given back nothing counts
    after = np.ones(150 * MEGABYTE, np.uint8)
    assert watch.megabytes() > 130
    del after


@pytest.fixture
def torch(monkeypatch):
    """PyTorch's counts, as one wants them."""
    cuda = SimpleNamespace(now=3 * MEGABYTE, peak=9 * MEGABYTE)
    cuda.memory_allocated = lambda device: cuda.now
    cuda.max_memory_allocated = lambda device: cuda.peak
    cuda.reset_peak_memory_stats = lambda device: setattr(cuda, "peak", cuda.now)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def test_pytorchs_peak_is_that_above_the_built_network(torch):
    watch = memory.watch("torch", "cuda:0")
    with watch:
        assert watch.megabytes() == 0  # that of building is forgotten
        torch.peak = 5 * MEGABYTE
    assert watch.megabytes() == 2


@pytest.fixture
def cupy():
    """A pool that tells the hook in use what it hands out and gets back, in CuPy's words."""

    class MemoryHook:
        def __enter__(self):
            pool.hook = self

        def __exit__(self, *error):
            pool.hook = None

    def malloc(size):
        pool.used += size
        if pool.hook:
            pool.hook.malloc_postprocess(device_id=0, size=size - 1, mem_size=size, mem_ptr=1, pmem_id=2)

    def free(size):
        pool.used -= size
        if pool.hook:
            pool.hook.free_postprocess(device_id=0, mem_size=size, mem_ptr=1, pmem_id=2)

    pool = SimpleNamespace(hook=None, used=0, malloc=malloc, free=free, used_bytes=lambda: pool.used)
    stand_in = SimpleNamespace(cuda=SimpleNamespace(MemoryHook=MemoryHook), get_default_memory_pool=lambda: pool)
    with pytest.MonkeyPatch.context() as patch:  # gone before the process's own kernels are chosen again
        patch.setitem(sys.modules, "cupy", stand_in)
        yield pool


def test_cupys_peak_is_that_of_the_context(cupy):
    cupy.malloc(7 * MEGABYTE)
    watch = memory.watch("cupy", "cuda:0")
    with watch:
        cupy.malloc(4 * MEGABYTE)
        cupy.free(3 * MEGABYTE)
        cupy.malloc(2 * MEGABYTE)
    assert watch.megabytes() == 4
    cupy.malloc(5 * MEGABYTE)
    assert watch.megabytes() == 4
    with watch:
        cupy.malloc(1 * MEGABYTE)
    assert watch.megabytes() == 3 + 5 + 1


def test_jax_does_not_say():
    watch = memory.watch("jax", "cuda:0")
    with watch:
        pass
    assert watch.megabytes() is None
