"""The array steps that the kernels share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_close
from xpnet.kernels.windows import add_taps, interleave, narrow, pad, spread, sum_arrays, taps, to_logical, to_memory


def test_memory_order_has_the_batch_last(backend):
    x = backend.asarray(np.zeros((2, 3, 4, 5)))
    assert tuple(to_memory(x).shape) == (3, 5, 4, 2)
    assert tuple(to_logical(to_memory(x)).shape) == (2, 3, 4, 5)


def test_pad_extends_by_a_value_and_crops_where_negative(backend):
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    move = backend.asarray
    assert_close(pad(move(x), 1, 2, 1), move(np.pad(x, ((0, 0), (2, 1)))))
    assert_close(pad(move(x), 0, 0, 1, value=-np.inf), move(np.pad(x, ((0, 1), (0, 0)), constant_values=-np.inf)))
    assert_close(pad(move(x), 1, -1, -2), move(x[:, 1:2]))
    assert_close(pad(move(x), 1, -1, 2), move(np.pad(x[:, 1:], ((0, 0), (0, 2)))))
    assert_close(pad(move(x), 0, -4, 3), move(np.zeros((2, 4), np.float32)))
    assert_close(pad(move(x), 0, 0, 0), move(x))


def test_narrow_slices_one_axis(backend):
    x = np.arange(24.0).reshape(2, 6, 2)
    assert_close(narrow(backend.asarray(x), 1, 1, 6, 2), backend.asarray(x[:, 1:6:2]))


def test_interleave_places_entries_in_turns(backend):
    arrays = [backend.asarray(np.array([[1, 2], [3, 4]]) * factor) for factor in (1, 10, 100)]
    assert_close(interleave(arrays, 1), backend.asarray(np.array([[1, 10, 100, 2, 20, 200], [3, 30, 300, 4, 40, 400]])))
    assert_close(interleave(arrays[:2], 0), backend.asarray(np.array([[1, 2], [10, 20], [3, 4], [30, 40]])))
    assert_close(interleave(arrays[:1], 0), arrays[0])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_spread_puts_zeros_between_but_not_behind(backend, stride):
    x = np.arange(1.0, 9.0).reshape(2, 4)
    expected = np.zeros((2, stride * 3 + 1))
    expected[:, ::stride] = x
    assert_close(spread(backend.asarray(x), 1, stride), backend.asarray(expected))


def test_sum_arrays(backend):
    arrays = [backend.asarray(np.array([number, 0.5])) for number in (1.0, 2.0, 4.0)]
    assert_close(sum_arrays(arrays), backend.asarray(np.array([7.0, 1.5])))


@pytest.mark.parametrize("dilation", [1, 2])
def test_taps_are_what_lies_under_each_tap_at_every_position(backend, dilation):
    x = np.arange(20.0).reshape(2, 10)
    actual = taps(backend.asarray(x), 1, kernel=3, stride=2, dilation=dilation, count=3)
    assert len(actual) == 3
    for tap, values in enumerate(actual):
        expected = np.stack([x[:, 2 * position + tap * dilation] for position in range(3)], axis=1)
        assert_close(values, backend.asarray(expected))


@given(
    kernel=st.integers(1, 6),
    stride=st.integers(1, 5),
    count=st.integers(1, 5),
    spare=st.integers(0, 5),
    axis=st.integers(0, 1),
)
def test_add_taps_is_the_adjoint_of_taps(kernel, stride, count, spare, axis):
    """<taps(x), parts> = <x, add_taps(parts)> for all x and parts; exact, since the values are integers."""
    rng, length = np.random.default_rng(6), stride * (count - 1) + kernel + spare
    x = rng.integers(-9, 10, (length, 2) if axis == 0 else (2, length))
    seen = taps(x, axis, kernel, stride, 1, count)
    parts = [rng.integers(-9, 10, tap.shape) for tap in seen]
    added = add_taps(parts, axis, stride, length)
    assert added.shape == x.shape
    assert sum(np.sum(tap * part) for tap, part in zip(seen, parts, strict=True)) == np.sum(x * added)
