"""Our kernels for CuPy arrays against the definition, and against the array operations whose place they take."""

import numpy as np
import pytest
from hypothesis import given

from tests.conftest import PRESENT
from tests.kernels.test_convolution import EXAMPLES, a_backend_has_nothing_to_set_back, check, problems
from xpnet import kernels
from xpnet.backend import to_numpy
from xpnet.kernels import im2col, table
from xpnet.random import fold_in, make_key, random_bits
from xpnet.shapes import Window

pytestmark = [
    pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device"),
    pytest.mark.parametrize("backend", ["cupy"], indirect=True),
]


@pytest.fixture
def module(backend):
    return table.by_name("cupy_kernels")


@pytest.mark.parametrize("problem", EXAMPLES)
def test_convolution_equals_the_definition(module, backend, problem):
    check(module, backend, problem)


@given(problem=problems())
@a_backend_has_nothing_to_set_back
def test_any_convolution_equals_the_definition(backend, problem):
    check(table.by_name("cupy_kernels"), backend, problem)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_convolution_is_that_of_the_array_operations_in_every_dtype(module, backend, dtype):
    rng, window = np.random.default_rng(0), Window((3, 3), (2, 1), ((1, 1), (0, 2)))
    x, weight = (backend.asarray(rng.normal(size=size), dtype) for size in ((2, 9, 8, 3), (4, 3, 3, 3)))
    y = im2col.conv2d(x, weight, None, window)
    dy = backend.asarray(rng.normal(size=y.shape), dtype)
    ours = (module.conv2d(x, weight, None, window), *module.conv2d_backward(x, dy, weight, window))
    expected = (y, *im2col.conv2d_backward(x, dy, weight, window))
    tolerance = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-13}[dtype]
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=tolerance, atol=tolerance)


def test_a_view_with_gaps_is_read_as_what_it_is(module, backend):
    x = backend.asarray(np.arange(2 * 6 * 6 * 4.0).reshape(2, 6, 6, 4))[:, ::2, 1:, ::3]
    weight = backend.asarray(np.arange(2 * 2 * 2 * 2.0).reshape(2, 2, 2, 2))
    actual = module.conv2d(x, weight, None, Window((2, 2)))
    np.testing.assert_array_equal(to_numpy(actual), to_numpy(im2col.conv2d(x, weight, None, Window((2, 2)))))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
@pytest.mark.parametrize("count", [1, 2, 9, 128, 300])
def test_vectors_are_joined(backend, dtype, count):
    vectors = [np.arange(number, number + number % 5).astype(dtype) for number in range(count)]
    joined = kernels.join_vectors([backend.asarray(vector) for vector in vectors])
    assert joined.dtype == dtype
    np.testing.assert_array_equal(to_numpy(joined), np.concatenate(vectors))


def test_vectors_that_the_kernel_cannot_read_are_joined_all_the_same(backend):
    vectors = [np.arange(6.0)[::2], np.arange(3.0)]
    mixed = [backend.asarray(vectors[0], "float32"), backend.asarray(vectors[1])]
    for parts in ([backend.asarray(np.arange(6.0))[::2], backend.asarray(vectors[1])], mixed):
        np.testing.assert_array_equal(to_numpy(kernels.join_vectors(parts)), np.concatenate(vectors))


def test_convolution_serves_unless_only_pure_kernels_may(module, backend):
    x, weight, _ = (backend.asarray(array) for array in EXAMPLES[2].arrays())
    arguments = ("conv2d", x, weight, None, EXAMPLES[2].window, 1)
    assert table.find(*arguments) is module
    with kernels.using("pure"):
        assert table.find(*arguments) is im2col


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (7, 3), (3, 0, 2), (65, 2, 4)])
def test_random_bits_are_those_of_every_library(backend, shape):
    key = fold_in(make_key(3), -5)
    actual = random_bits(backend.asarray(key), shape)
    assert (actual.shape, actual.dtype) == (shape, backend.xp.int32)
    np.testing.assert_array_equal(to_numpy(actual), random_bits(key, shape))


@pytest.mark.parametrize("number", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_a_folded_key_is_that_of_every_library(backend, number):
    key = make_key(3)
    expected = fold_in(key, number)
    for given_number in (number, backend.asarray(np.asarray(number, np.int32))):
        actual = fold_in(backend.asarray(key), given_number)
        assert (actual.shape, actual.dtype) == ((2,), backend.xp.int32)
        np.testing.assert_array_equal(to_numpy(actual), expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_examples_are_taken_as_by_array_operations(module, backend, dtype):
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 256, (9, 3, 4, 2)).astype(dtype), rng.integers(0, 5, 9).astype(np.int32)
    indices = np.array([8, 0, 3, 3, 5])
    arrays = backend.asarray(inputs), backend.asarray(targets), backend.asarray(indices)
    for wanted, result in ((None, dtype), (backend.dtype("float32"), "float32")):
        x, y = kernels.take_examples(*arrays, wanted)
        assert x.dtype == result
        np.testing.assert_array_equal(to_numpy(x), inputs[indices].astype(result))
        np.testing.assert_array_equal(to_numpy(y), targets[indices])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_interpolation_has_the_bits_of_array_operations(module, backend, dtype):
    start, end = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(dtype)
    actual = kernels.lerp(backend.asarray(start), backend.asarray(end)[::-1], 0.3)
    np.testing.assert_array_equal(to_numpy(actual), start + 0.3 * (end[::-1] - start))
