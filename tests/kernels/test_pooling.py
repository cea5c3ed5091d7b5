"""Pooling against the definition, in both memory orders, on values with many ties."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_close
from tests.kernels import naive
from xpnet import kernels
from xpnet.backend import array_namespace, to_numpy
from xpnet.kernels import numpy_pooling, pooling
from xpnet.kernels.windows import to_logical, to_memory
from xpnet.shapes import Window

OVERLAPPING = Window((3, 2), (2, 1), ((1, 1), (1, 0)))
WINDOWS = [
    OVERLAPPING,
    Window((3, 3), (2, 2), ((1, 1), (1, 1))),
    Window((2, 3), (2, 3), ((1, 0), (0, 1))),
    Window((2, 2), (2, 3)),
]


@st.composite
def windows(draw):
    """Windows with at most half of their taps in the padding, as the layer demands."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple((draw(st.integers(0, size // 2)), draw(st.integers(0, size // 2))) for size in kernel)
    return Window(kernel, draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), padding)


def arrays(window, image_size, channels=2):
    rng = np.random.default_rng(4)
    x = rng.integers(-3, 0, (2, *image_size, channels)).astype(np.float64)
    dy = rng.integers(1, 10, (2, *window.output_size(*image_size), channels)).astype(np.float64)
    return x, dy


def rows_first(x, dy, window):
    y, winners = pooling.max_pool2d_with_winners(x, window)
    assert_close(pooling.max_pool2d(x, window), y)
    return y, pooling.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3])


def batch_innermost(x, dy, window):
    x, dy = (in_batch_innermost_order(array) for array in (x, dy))
    y, dx = rows_first(x, dy, window)
    if hasattr(x, "strides") and min(window.kernel) > 1:  # along an axis where it is 1, y is a view of x
        assert to_memory(y).flags.c_contiguous
        assert to_memory(dx).flags.c_contiguous or dx.strides[0] < dx.strides[3]
    return y, dx


def in_batch_innermost_order(x):
    xp = array_namespace(x)
    memory = to_memory(x)
    return to_logical(memory.copy(order="C") if hasattr(memory, "copy") else xp.asarray(memory, copy=True))


def check(pool, backend, window, image_size, definition=naive.max_pool2d, atol=0.0):
    x, dy = arrays(window, image_size)
    actual = pool(backend.asarray(x), backend.asarray(dy), window)
    for a, b in zip(actual, definition(x, dy, window), strict=True):
        assert_close(a, backend.asarray(b), atol=atol)


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
    assert numpy_pooling.serves("max_pool2d", np.zeros(1), window)
    with monkeypatch.context() as patch:
        patch.setattr(numpy_pooling, "_CACHED", 40)
        check(by_numpy, backend, window, (kernel[0] + extra[0], kernel[1] + extra[1]))


def by_numpy(x, dy, window):
    y, winners = numpy_pooling.max_pool2d_with_winners(x, window)
    assert_close(numpy_pooling.max_pool2d(x, window), y)
    return y, numpy_pooling.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3])


@pytest.mark.parametrize("window", [Window((2, 2), (1, 2)), Window((2, 2), (2, 2), ((1, 0), (0, 0)))])
def test_numpys_pooling_serves_no_window_that_overlaps_or_is_padded(window):
    assert not numpy_pooling.serves("max_pool2d", np.zeros(1), window)


def trained(x, dy, window):
    y, winners = kernels.max_pool2d_with_winners(x, window)
    return y, kernels.max_pool2d_input_gradient(dy, winners, window, x.shape[1:3])


def chosen(x, dy, window):
    y, dx = trained(x, dy, window)
    assert_close(kernels.max_pool2d(x, window), y)
    return y, dx


def averaged(x, dy, window):
    return kernels.average_pool2d(x, window), kernels.average_pool2d_input_gradient(dy, window, x.shape[1:3])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("choice", ["fastest", "pure"])
def test_the_chosen_pooling_equals_the_definition(backend, window, choice):
    with kernels.using(choice):
        check(chosen, backend, window, (5, 6))
        check(averaged, backend, window, (5, 6), naive.average_pool2d, atol=1e-14)


@pytest.mark.parametrize("backend", ["jax"], indirect=True)
@pytest.mark.parametrize("window", WINDOWS)
def test_pooling_may_be_compiled(backend, window):
    jax = pytest.importorskip("jax")
    check(jax.jit(trained, static_argnums=2), backend, window, (5, 6))
    check(jax.jit(averaged, static_argnums=2), backend, window, (5, 6), naive.average_pool2d, atol=1e-14)
    x, dy = map(backend.asarray, arrays(window, (5, 6)))
    assert_close(jax.jit(kernels.max_pool2d, static_argnums=1)(x, window), trained(x, dy, window)[0])


def test_pytorchs_own_pooling_is_called_where_it_knows_the_window(monkeypatch):
    torch = pytest.importorskip("torch")
    x = torch.zeros(1, 4, 4, 1)
    _, winners = kernels.max_pool2d_with_winners(x, Window((3, 3), (2, 2), ((1, 1), (1, 1))))
    assert set(winners) == {"torch_kernels"}
    _, winners = kernels.max_pool2d_with_winners(x, Window((2, 2), (2, 2), ((1, 0), (1, 0))))
    assert set(winners) == {"pooling"}
    monkeypatch.setattr(torch.nn.functional, "avg_pool2d", lambda x, *window: x + 7)
    assert kernels.average_pool2d(x, Window((3, 3), (2, 2), ((1, 1), (1, 1)))).sum() == 7 * 16
    assert kernels.average_pool2d(x, Window((2, 2), (2, 2), ((1, 0), (1, 0)))).sum() == 0


def test_pytorchs_gradient_of_a_mean_keeps_the_order_of_images():
    torch = pytest.importorskip("torch")
    dy = torch.ones(2, 3, 3, 5)
    assert kernels.average_pool2d_input_gradient(dy, Window((2, 2), (2, 2)), (6, 6)).is_contiguous()


@pytest.mark.parametrize(
    ("window", "own"), [(Window((2, 2), (2, 3)), True), (Window((3, 3), (2, 2)), False), (OVERLAPPING, False)]
)
def test_xlas_own_kernels_are_called_where_windows_do_not_overlap(window, own):
    jax = pytest.importorskip("jax")
    x, dy = map(jax.numpy.asarray, arrays(window, (5, 6)))
    traced = jax.make_jaxpr(lambda x: kernels.max_pool2d(x, window))(x)
    assert ("reduce_window_max" in str(traced)) is own
    traced = jax.make_jaxpr(lambda dy: kernels.average_pool2d_input_gradient(dy, window, (5, 6)))(dy)
    assert ("reduce_window_sum" in str(traced)) is own


@pytest.mark.parametrize("window", [Window((2, 2), (2, 2)), Window((3, 2), (1, 2))])
@pytest.mark.parametrize("values", [[np.inf, 0.0, np.inf], [-np.inf], [-np.inf, -np.inf, -1.0, -np.inf, np.inf]])
def test_infinities_win_and_lose_by_the_same_rule_everywhere(backend, window, values):
    x, dy = arrays(window, (4, 6))
    x = np.resize(values, x.shape)
    for ours, expected in zip(
        chosen(backend.asarray(x), backend.asarray(dy), window), rows_first(x, dy, window), strict=True
    ):
        assert_close(ours, backend.asarray(expected))


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_with_nan_gives_nan_everywhere(backend, window):
    x, dy = arrays(window, (5, 6))
    x[0, 2, 3, :] = np.nan
    expected, _ = rows_first(x, dy, window)
    assert 0 < np.isnan(expected).sum() < expected.size / 2
    for pool in (trained, chosen):
        y, dx = pool(backend.asarray(x), backend.asarray(dy), window)
        assert_close(y, backend.asarray(expected))
        assert_close(np.sum(to_numpy(dx)), np.sum(dy))  # each dy went somewhere, once


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
