"""Which module of kernels serves what: a row for each operation, and a column for each library, dtype and choice."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import assert_close
from xpnet import kernels
from xpnet.backend import resolve
from xpnet.errors import InputError
from xpnet.kernels import choice, onednn_kernels, table
from xpnet.kernels.__main__ import examples
from xpnet.layers import AvgPool2D, BatchNorm, Conv2D, MaxPool2D, ReLU, Sequential
from xpnet.shapes import Window


def onednn(otherwise):
    """OneDNN's module where it is installed."""
    return "onednn_kernels" if onednn_kernels.is_available() else otherwise


COLUMNS = ("numpy float32", "numpy float64", "torch float32", "jax float32", "pure")
NUMPY, FORMULA = "numpy_kernels", "none"  # a formula serves that is elsewhere than among the kernels
SERVES = {
    "conv2d": (onednn(NUMPY), NUMPY, "torch_kernels", "jax_kernels", "unrolled"),
    "conv2d_backward": (onednn(NUMPY), NUMPY, "torch_kernels", "jax_kernels", "unrolled"),
    "conv2d_block": (onednn(FORMULA), FORMULA, FORMULA, FORMULA, FORMULA),
    "max_pool2d": (onednn("numpy_pooling"), "numpy_pooling", "torch_kernels", "jax_kernels", "pooling"),
    "max_pool2d_with_winners": (onednn("numpy_pooling"), "numpy_pooling", "torch_kernels", "pooling", "pooling"),
    "rectified_max_pool2d": (FORMULA, FORMULA, FORMULA, FORMULA, FORMULA),
    "average_pool2d": (onednn("pooling"), "pooling", "torch_kernels", "pooling", "pooling"),
    "average_pool2d_input_gradient": (onednn("pooling"), "pooling", "torch_kernels", "jax_kernels", "pooling"),
    "batch_norm": (onednn(FORMULA), FORMULA, FORMULA, FORMULA, FORMULA),
    "batch_norm_by_running_statistics": (onednn(FORMULA), FORMULA, FORMULA, FORMULA, FORMULA),
    "rectify": ("pointwise", "pointwise", "pointwise", "pointwise", "pointwise"),
    "rectify_gradient": ("pointwise", "pointwise", "pointwise", "pointwise", "pointwise"),
    "rectified_sum": ("numpy_elements", "numpy_elements", FORMULA, FORMULA, FORMULA),
    "normalize": ("numpy_elements", "numpy_elements", "pointwise", "pointwise", "pointwise"),
    "lerp": ("pointwise", "pointwise", "pointwise", "pointwise", "pointwise"),
    "elementwise": ("numpy_elements", "numpy_elements", FORMULA, FORMULA, FORMULA),
    "softmax_cross_entropy": ("numpy_loss", "numpy_loss", "cross_entropy", "cross_entropy", "cross_entropy"),
    "accuracy": ("numpy_loss", "numpy_loss", "cross_entropy", "cross_entropy", "cross_entropy"),
    "channel_sum": ("products", "products", "products", "products", "products"),
    "optimizer_update": ("blockwise", "blockwise", "blockwise", FORMULA, FORMULA),
    "augment": (FORMULA, FORMULA, FORMULA, FORMULA, FORMULA),
    "take_examples": ("products", "products", "products", "products", "products"),
    "matmul": ("products", "products", "products", "products", "products"),
    "join_vectors": ("products", "products", "products", "products", "products"),
}


def servers(library, dtype, choice):
    backend = resolve("cpu", library)
    with kernels.using(choice):
        arguments = examples(lambda array: backend.asarray(array, dtype))
        return {operation: table.name_of(table.find(operation, *arguments[operation])) for operation in table.TABLE}


@pytest.mark.parametrize("column", COLUMNS)
def test_who_serves(column):
    expected = {operation: row[COLUMNS.index(column)] for operation, row in SERVES.items()}
    library, dtype = ("numpy", "float32") if column == "pure" else column.split()
    pytest.importorskip(library)
    assert servers(library, dtype, "pure" if column == "pure" else "fastest") == expected


def test_without_onednn_overlapping_windows_go_to_the_pure_pooling():
    x = np.ones((2, 8, 8, 4))
    assert table.name_of(table.find("max_pool2d_with_winners", x, Window((3, 3), (2, 2)))) == "pooling"


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
    assert lines == {operation: row[0] for operation, row in SERVES.items()}
