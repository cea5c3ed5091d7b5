import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import Conv1D, Conv2D, DepthwiseConv2D


def test_output_first():
    params, state, output_shape = Conv2D(4, (5, 3), padding=(2, 0)).init(np.random.default_rng(0), (9, 8, 2))
    assert (params["weight"].shape, params["bias"].shape) == ((4, 5, 3, 2), (4,))
    assert (state, output_shape) == ({}, (9, 6, 4))
    assert not np.any(params["bias"])


def test_by_hand():
    """A cross-correlation: the kernel is not flipped."""
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), "bias": np.array([0.5])}
    x = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]).reshape(1, 2, 3, 1)
    y, cache, _ = Conv2D(1, 2).forward(params, {}, x, train=True)
    assert y.ravel().tolist() == [5.5, 7.5]
    dx, grads = Conv2D(1, 2).backward(params, cache, np.array([1.0, 10.0]).reshape(1, 1, 2, 1))
    assert dx.reshape(2, 3).tolist() == [[1.0, 12.0, 20.0], [3.0, 34.0, 40.0]]
    assert grads["weight"].reshape(2, 2).tolist() == [[1.0, 20.0], [10.0, 1.0]]
    assert grads["bias"].tolist() == [11.0]


def test_vectors_are_no_images():
    with refused("Conv2D: expected images (N, H, W, C), got shape (N, 784).", "Reshape"):
        Conv2D(2, 3).output_shape((784,))
    with refused("Conv2D", "images (N, H, W, C)", "got shape (N, 28, 28)"):
        Conv2D(2, 3).output_shape((28, 28))
    with refused("Conv2D", "images (N, H, W, C)", "got shape (N, 2, 28, 28, 1)"):
        Conv2D(2, 3).output_shape((2, 28, 28, 1))


def test_an_image_smaller_than_the_kernel():
    with refused("Conv2D: window 5x3 is larger than its padded input 4x4. Use a smaller window or more padding."):
        Conv2D(2, 3, padding=(0, 1), dilation=(2, 1)).output_shape((4, 2, 1))


def test_another_image_size_than_at_init_is_fine_but_not_other_channels():
    params = Conv2D(2, 3).init(np.random.default_rng(0), (5, 5, 3)).params
    assert Conv2D(2, 3).forward(params, {}, np.zeros((1, 4, 7, 3))).y.shape == (1, 2, 5, 2)
    with refused("Conv2D: expected 3 channels, got 1."):
        Conv2D(2, 3).forward(params, {}, np.zeros((1, 5, 5, 1)))
    with refused("Conv2D: window 3x3 is larger than its padded input 2x5."):
        Conv2D(2, 3).forward(params, {}, np.zeros((1, 2, 5, 3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": 0}, "expected filters to be an integer of at least 1, got 0."),
        ({"kernel_size": 0}, "expected kernel_size to be an integer of at least 1 or a pair of them, got 0."),
        ({"stride": (1, 0)}, "expected stride to be an integer of at least 1 or a pair of them, got (1, 0)."),
        ({"dilation": 1.5}, "expected dilation to be an integer of at least 1 or a pair of them, got 1.5."),
        ({"padding": -1}, "expected padding to be an integer of at least 0 or a pair of them, got -1."),
        ({"padding": "full"}, "expected padding to be a number, a pair, 'same' or 'valid', got 'full'."),
        ({"padding": "same", "stride": 2}, "padding 'same' is defined for stride 1, got stride (2, 2)."),
    ],
)
def test_settings_out_of_range_are_refused_when_the_layer_is_made(settings, message):
    with refused(f"Conv2D: {message}"):
        Conv2D(**{"filters": 2, "kernel_size": 3, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": (1, 3)}, "expected kernel_size to be an integer of at least 1, got (1, 3)."),
        ({"stride": 0}, "expected stride to be an integer of at least 1, got 0."),
        ({"padding": (1, 1)}, "expected padding to be an integer of at least 0, 'same' or 'valid', got (1, 1)."),
        ({"padding": "full"}, "expected padding to be a number, a pair, 'same' or 'valid', got 'full'."),
        ({"groups": 3}, "expected filters to be a multiple of 3 groups, got 2."),
    ],
)
def test_settings_of_one_axis_out_of_range(settings, message):
    with refused(f"Conv1D: {message}"):
        Conv1D(**{"filters": 2, "kernel_size": 3, **settings})


def test_sequences_that_do_not_fit():
    with refused("Conv1D: expected sequences (N, T, C), got shape (N, 784)."):
        Conv1D(2, 3).output_shape((784,))
    with refused("Conv1D: window 1x5 is larger than its padded input 1x4."):
        Conv1D(2, 5).output_shape((4, 3))
    params = Conv1D(2, 3).init(np.random.default_rng(0), (9, 3)).params
    with refused("Conv1D: expected 3 channels, got 1."):
        Conv1D(2, 3).forward(params, {}, np.zeros((1, 9, 1)))


def test_a_depthwise_convolution_is_one_of_as_many_groups_as_channels():
    rng, layer = np.random.default_rng(0), DepthwiseConv2D(3, multiplier=2)
    params, _, output_shape = layer.init(rng, (5, 6, 4))
    assert (params["weight"].shape, output_shape) == ((8, 3, 3, 1), (3, 4, 8))
    x = rng.normal(size=(2, 5, 6, 4))
    np.testing.assert_array_equal(layer.forward(params, {}, x).y, Conv2D(8, 3, groups=4).forward(params, {}, x).y)
    with refused("DepthwiseConv2D: expected 4 channels, got 3."):
        layer.forward(params, {}, x[..., :3])
    with refused("DepthwiseConv2D", "multiplier to be an integer of at least 1", "got 0"):
        DepthwiseConv2D(3, multiplier=0)
