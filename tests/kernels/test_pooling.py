"""Max-pooling against the definition, in both memory orders, on values with many ties."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_close
from tests.kernels import naive
from xpnet import kernels
from xpnet.kernels import numpy_pooling, pooling
from xpnet.kernels.windows import to_logical, to_memory
from xpnet.shapes import Window

OVERLAPPING = Window((3, 2), (2, 1), ((1, 1), (1, 0)))


@st.composite
def windows(draw):
    """Windows with at most half of their taps in the padding, as the layer demands."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple((draw(st.integers(0, size // 2)), draw(st.integers(0, size // 2))) for size in kernel)
    return Window(kernel, draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), padding)


def arrays(window, image_size, channels=2):
    rng = np.random.default_rng(4)
    x = rng.integers(0, 3, (2, *image_size, channels)).astype(np.float64)
    dy = rng.integers(1, 10, (2, *window.output_size(*image_size), channels)).astype(np.float64)
    return x, dy


def rows_first(x, dy, window):
    y, winners = pooling.max_pool2d_with_winners(x, window, axes=(1, 2))
    assert_close(pooling.max_pool2d(x, window, axes=(1, 2)), y)
    return y, pooling.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3], axes=(1, 2))


def batch_innermost(x, dy, window):
    y, winners = pooling.max_pool2d_with_winners(to_memory(x), window, axes=(0, 2))
    assert_close(pooling.max_pool2d(to_memory(x), window, axes=(0, 2)), y)
    dx = pooling.max_pool2d_input_gradient(to_memory(dy), winners, window, x.shape[1:3], axes=(0, 2))
    return to_logical(y), to_logical(dx)


def check(pool, backend, window, image_size):
    x, dy = arrays(window, image_size)
    actual = pool(backend.asarray(x), backend.asarray(dy), window)
    for a, b in zip(actual, naive.max_pool2d(x, dy, window), strict=True):
        assert_close(a, backend.asarray(b))


@pytest.mark.parametrize("pool", [rows_first, batch_innermost])
@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"], indirect=True)
@given(window=windows(), extra=st.tuples(st.integers(0, 4), st.integers(0, 4)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # a backend has nothing to set back
def test_pooling_equals_the_definition(pool, backend, window, extra):
    smallest = [max(1, k - sum(padding)) for k, padding in zip(window.kernel, window.padding, strict=True)]
    check(pool, backend, window, (smallest[0] + extra[0], smallest[1] + extra[1]))


@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
@given(kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), extra=st.tuples(st.integers(0, 9), st.integers(0, 9)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numpys_pooling_equals_the_definition_in_bands_of_any_size(backend, kernel, extra, monkeypatch):
    window = Window(kernel, kernel)
    assert numpy_pooling.serves(window)
    with monkeypatch.context() as patch:
        patch.setattr(numpy_pooling, "_CACHED", 40)
        check(by_numpy, backend, window, (kernel[0] + extra[0], kernel[1] + extra[1]))


def by_numpy(x, dy, window):
    y, winners = numpy_pooling.max_pool2d_with_winners(x, window)
    assert_close(numpy_pooling.max_pool2d(x, window), y)
    return y, numpy_pooling.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3])


@pytest.mark.parametrize("window", [Window((2, 2), (1, 2)), Window((2, 2), (2, 2), ((1, 0), (0, 0)))])
def test_numpys_pooling_serves_no_window_that_overlaps_or_is_padded(window):
    assert not numpy_pooling.serves(window)


def chosen(x, dy, window):
    y, winners = kernels.max_pool2d_with_winners(x, window)
    assert_close(kernels.max_pool2d(x, window), y)
    return y, kernels.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3])


@pytest.mark.parametrize("window", [OVERLAPPING, Window((3, 3), (2, 2), ((1, 1), (1, 1)))])
@pytest.mark.parametrize("accelerator", [False, True])
def test_the_chosen_pooling_equals_the_definition_wherever_it_runs(backend, accelerator, window, monkeypatch):
    monkeypatch.setattr(kernels, "on_accelerator", lambda array: accelerator)
    check(chosen, backend, window, (5, 6))
    kernels.use("pure")
    try:
        check(chosen, backend, window, (5, 6))
    finally:
        kernels.use("fastest")


def test_pytorchs_own_pooling_is_called_where_it_knows_the_window(monkeypatch):
    torch = pytest.importorskip("torch")
    x = torch.zeros(1, 4, 4, 1)
    _, winners = kernels.max_pool2d_with_winners(x, Window((3, 3), (2, 2), ((1, 1), (1, 1))))
    assert set(winners) == {"x", "winners"}
    _, winners = kernels.max_pool2d_with_winners(x, Window((2, 2), (2, 2), ((1, 0), (1, 0))))
    assert isinstance(winners, tuple)


@pytest.mark.parametrize("pool", [rows_first, batch_innermost])
def test_of_four_equal_values_the_first_wins(pool):
    x = np.zeros((1, 2, 2, 1))
    for column_values, winner in [([0, 0, 0, 0], 0), ([0, 1, 1, 1], 1), ([0, 0, 1, 1], 2), ([0, 1, 1, 0], 1)]:
        x[0, :, :, 0] = np.reshape(column_values, (2, 2))
        _, dx = pool(x, np.ones((1, 1, 1, 1)), Window((2, 2), (2, 2)))
        assert np.flatnonzero(dx).tolist() == [winner]


@pytest.mark.parametrize("pool", [rows_first, batch_innermost])
def test_padding_never_wins_over_negative_values(pool):
    x = np.full((1, 3, 3, 1), -5.0)
    window = Window((3, 3), (2, 2), ((1, 1), (1, 1)))
    y, dx = pool(x, np.ones((1, 2, 2, 1)), window)
    np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), -5.0))
    assert np.sum(dx) == 4
