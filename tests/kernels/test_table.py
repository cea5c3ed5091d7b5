"""Which module of kernels serves what: a row for each operation, library and choice where that is of its own."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import assert_close
from xpnet import kernels
from xpnet.backend import resolve
from xpnet.errors import InputError
from xpnet.kernels import choice, onednn_kernels, table
from xpnet.layers import AvgPool2D, BatchNorm, Conv2D, MaxPool2D, ReLU, Sequential
from xpnet.shapes import Window

ONEDNN = "onednn_kernels" if onednn_kernels.is_available() else None  # else the next in the row
SIDE_BY_SIDE, OVERLAPPING = Window((2, 2), (2, 2)), Window((3, 3), (2, 2))
SERVES = [
    # library, choice, dtype, convolution, max-pool with winners, that with overlapping windows, batch normalisation
    ("numpy", "fastest", "float32", ONEDNN or "numpy_kernels", ONEDNN or "numpy_pooling", ONEDNN or "pooling", ONEDNN),
    ("numpy", "fastest", "float64", "numpy_kernels", "numpy_pooling", "pooling", None),
    ("numpy", "pure", "float32", "unrolled", "pooling", "pooling", None),
    ("torch", "fastest", "float32", "torch_kernels", "torch_kernels", "torch_kernels", None),
    ("torch", "pure", "float32", "unrolled", "pooling", "pooling", None),
    ("jax", "fastest", "float32", "jax_kernels", "pooling", "pooling", None),
    ("jax", "pure", "float32", "unrolled", "pooling", "pooling", None),
]


@pytest.mark.parametrize(("library", "name", "dtype", "convolution", "pool", "overlapping", "norm"), SERVES)
def test_who_serves(library, name, dtype, convolution, pool, overlapping, norm):
    pytest.importorskip(library)
    backend = resolve("cpu", library)
    x, weight, vector = (backend.asarray(np.ones(shape), dtype) for shape in ((2, 8, 8, 4), (4, 3, 3, 4), (4,)))
    params, state = {"weight": vector, "bias": vector}, {"running_mean": vector, "running_var": vector}

    def server(*arguments):
        module = table.find(*arguments)
        return module and table.name_of(module)

    with kernels.using(name):
        assert server("conv2d", x, weight, vector, Window((3, 3)), 1) == convolution
        assert server("conv2d_backward", x, x[:, :6, :6], weight, Window((3, 3)), 1) == convolution
        assert server("max_pool2d_with_winners", x, SIDE_BY_SIDE) == pool
        assert server("max_pool2d_with_winners", x, OVERLAPPING) == overlapping
        assert server("batch_norm", x, params, state, 0.1, 1e-5) == norm


def test_backward_goes_to_who_ran_forward(backend):
    """However the choice is changed in between: a cache can be read by nobody else."""
    rng = np.random.default_rng(0)
    layer = Sequential([Conv2D(4, 3), BatchNorm(), ReLU(), MaxPool2D(2), AvgPool2D(2)])
    variables = layer.init(rng, (10, 10, 3))
    params, state = (
        {name: {key: backend.asarray(array, "float32") for key, array in inner.items()} for name, inner in tree.items()}
        for tree in variables[:2]
    )
    x = backend.asarray(rng.normal(size=(2, 10, 10, 3)), "float32")
    results = []
    for forward, backward in (("fastest", "fastest"), ("fastest", "pure"), ("pure", "fastest")):
        with kernels.using(forward):
            y, cache, _ = layer.forward(params, state, x, train=True)
        with kernels.using(backward):
            results.append(layer.backward(params, cache, y).dx)
    for other in results[1:]:
        assert_close(results[0], other, rtol=1e-4, atol=1e-5)


def test_every_module_of_the_table_can_be_asked():
    for operation, row in table.TABLE.items():
        for candidate in row:
            if candidate.library in (None, "numpy"):
                module = table.by_name(candidate.module)
                assert callable(getattr(module, operation))
                assert callable(module.serves)
        assert {name for candidate in row for name in candidate.choices} <= set(kernels.CHOICES)


def test_a_with_block_chooses_other_kernels_and_leaves_the_rest(monkeypatch):
    monkeypatch.setattr(choice, "_choice", choice.Choice("fastest", recordable=True, deterministic=True))

    def fail():
        with kernels.using("pure"):
            assert choice.chosen() == ("pure", True, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert choice.chosen() == ("fastest", True, True)


@pytest.mark.parametrize("name", ["fast", "", "PURE"])
def test_unknown_kernels_are_refused(name):
    with pytest.raises(InputError, match="Kernels"), kernels.using(name):
        pass
    assert kernels.in_use()["kernels"] == "fastest"


def test_the_table_is_printed():
    printed = subprocess.run([sys.executable, "-m", "xpnet.kernels"], check=True, capture_output=True, text=True).stdout
    lines = {line.split()[0]: line.split()[1] for line in printed.splitlines()[1:]}
    assert lines.keys() == table.TABLE.keys()
    assert lines["conv2d"] == (ONEDNN or "numpy_kernels")
    assert lines["matmul"] == "products"
