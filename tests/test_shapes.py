import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import refused
from xpnet.shapes import Window, check_positive, make_window


def count_positions(length, kernel, stride, padding, dilation):
    """Slide a window along an axis, one position after another, as long as all its taps lie inside."""
    before, after = padding
    taps = [tap * dilation for tap in range(kernel)]
    starts = range(0, before + length + after, stride)
    return sum(start + taps[-1] < before + length + after for start in starts)


axes = st.tuples(
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 4),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 3),
)


@given(vertical=axes, horizontal=axes)
def test_output_size_is_the_number_of_positions(vertical, horizontal):
    (height, *rows), (width, *columns) = vertical, horizontal
    window = Window(*zip(rows, columns, strict=True))
    for actual, axis in zip(window.output_size(height, width), (vertical, horizontal), strict=True):
        assert max(actual, 0) == count_positions(*axis)


def test_extent_counts_the_pixels_from_the_first_tap_to_the_last():
    assert Window(kernel=(3, 4), dilation=(1, 2)).extent == (3, 7)


@given(kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)), dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_same_padding_keeps_the_size_and_puts_the_odd_pixel_last(kernel, dilation):
    window = make_window("Conv2D", kernel, 1, "same", dilation)
    assert window.output_size(7, 9) == (7, 9)
    for before, after in window.padding:
        assert after - before in (0, 1)


def test_numbers_stand_for_both_axes_and_pairs_are_vertical_first():
    assert make_window("Conv2D", 3, 2, 1, 4) == Window((3, 3), (2, 2), ((1, 1), (1, 1)), (4, 4))
    assert make_window("Conv2D", [3, 5], (1, 2), (0, 4), (2, 1)) == Window((3, 5), (1, 2), ((0, 0), (4, 4)), (2, 1))
    assert make_window("Conv2D", 3, 1, "valid") == Window((3, 3))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", (3,), (3, 3, 3), (3, 0), (3, 1.5)])
@pytest.mark.parametrize("what", ["kernel_size", "stride", "dilation"])
def test_settings_are_integers_from_1(what, value):
    settings = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, what: value}
    with refused(
        f"Conv2D: expected {what} to be an integer of at least 1 or a pair of them, got {value!r}. Change {what}."
    ):
        make_window("Conv2D", **settings)


@pytest.mark.parametrize("value", [-1, 0.5, False, None, (1, -1), (1, 1, 1, 1)])
def test_padding_is_integers_from_0(value):
    with refused("Conv2D", "padding to be an integer of at least 0 or a pair of them, got"):
        make_window("Conv2D", 3, 1, value)


def test_padding_by_an_unknown_name():
    with refused("MaxPool2D", "padding to be a number, a pair, 'same' or 'valid'", "got 'full'"):
        make_window("MaxPool2D", 3, 1, "full")


def test_same_padding_needs_stride_1():
    with refused("Conv2D: padding 'same' is defined for stride 1, got stride (2, 1)."):
        make_window("Conv2D", 3, (2, 1), "same")


def test_check_positive():
    assert check_positive("Dense", "units", 3) == 3
    for value in (0, -2, 1.0, True, "3", None):
        with refused("Dense", "units to be an integer of at least 1", f"got {value!r}"):
            check_positive("Dense", "units", value)
