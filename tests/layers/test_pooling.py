import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from xpnet.shapes import Window


def test_stride_defaults_to_the_window():
    assert MaxPool2D((2, 3)).window == Window((2, 3), (2, 3))
    assert MaxPool2D((2, 3), stride=1).window == Window((2, 3), (1, 1))


def test_sizes_are_rounded_down():
    assert MaxPool2D(2).output_shape((5, 7, 3)) == (2, 3, 3)


def test_by_hand():
    x = np.array([[1.0, 4.0, 4.0], [4.0, -1.0, 0.0], [9.0, 9.0, 9.0]]).reshape(1, 3, 3, 1)
    layer = MaxPool2D(2, stride=1)
    y, cache, _ = layer.forward({}, {}, x, train=True)
    assert y.reshape(2, 2).tolist() == [[4.0, 4.0], [9.0, 9.0]]
    dx = layer.backward({}, cache, np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 2, 2, 1)).dx
    assert dx.reshape(3, 3).tolist() == [[0.0, 11.0, 0.0], [0.0, 0.0, 0.0], [100.0, 1000.0, 0.0]]


@pytest.mark.parametrize(("kernel_size", "padding"), [(2, 2), (3, 2), ((4, 2), (0, 2)), (1, 1)])
def test_padding_beyond_half_the_window(kernel_size, padding):
    with refused("MaxPool2D", f"padding of at most half the window {kernel_size}", f"got {padding}"):
        MaxPool2D(kernel_size, padding=padding)


def test_settings_out_of_range():
    with refused("MaxPool2D", "kernel_size to be an integer of at least 1 or a pair of them", "got 0"):
        MaxPool2D(0)
    with refused("MaxPool2D: padding 'same' is defined for stride 1, got stride (2, 2)."):
        MaxPool2D(2, padding="same")


def test_images_it_does_not_take():
    with refused("MaxPool2D", "images (N, H, W, C)", "got shape (N, 784)", "Reshape"):
        MaxPool2D(2).forward({}, {}, np.zeros((1, 784)))
    with refused("MaxPool2D: window 3x3 is larger than its padded input 2x2."):
        MaxPool2D(3).forward({}, {}, np.zeros((1, 2, 2, 1)))


@pytest.mark.parametrize("layer", [MaxPool2D(2, padding=1), AvgPool2D(2), GlobalAvgPool2D()])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 4, 4, 1)), "expected a batch of at least one example, got shape (0, 4, 4, 1)."),
        (np.zeros((1, 4, 4, 1), np.uint8), "expected floating-point numbers, got uint8."),
    ],
)
def test_batches_that_cannot_be_pooled(layer, x, message):
    with refused(f"{type(layer).__name__}: {message}"):
        layer.forward({}, {}, x)


def test_ceil_lets_a_last_window_reach_beyond_the_image_but_not_begin_there():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 1, 5, 1)
    assert MaxPool2D((1, 2)).output_shape((1, 5, 1)) == (1, 2, 1)
    assert MaxPool2D((1, 2), ceil=True).forward({}, {}, x).y.ravel().tolist() == [2, 4, 5]
    assert AvgPool2D((1, 2), ceil=True).forward({}, {}, x).y.ravel().tolist() == [1.5, 3.5, 5]
    assert AvgPool2D((1, 2), padding=(0, 1), ceil=True).forward({}, {}, x).y.ravel().tolist() == [0.5, 2.5, 4.5]
