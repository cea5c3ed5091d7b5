import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import Conv2D, ConvTranspose2D


def test_by_hand_every_value_is_stamped_by_the_kernel():
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), "bias": np.array([0.5])}
    y = ConvTranspose2D(1, 2, stride=2).forward(params, {}, np.array([10.0, 1.0]).reshape(1, 1, 2, 1)).y
    assert y.reshape(2, 4).tolist() == [[10.5, 20.5, 1.5, 2.5], [30.5, 40.5, 3.5, 4.5]]


def test_it_is_the_gradient_of_a_convolution_by_its_input():
    rng = np.random.default_rng(0)
    conv, transposed = Conv2D(4, 3, stride=2, padding=1, bias=False), ConvTranspose2D(3, 3, 2, 1, bias=False)
    params = conv.init(rng, (7, 9, 3)).params
    dy = rng.normal(size=(2, 4, 5, 4))
    cache = conv.forward(params, {}, rng.normal(size=(2, 7, 9, 3)), train=True).cache
    expected = conv.backward(params, cache, dy).dx
    np.testing.assert_allclose(transposed.forward(params, {}, dy).y, expected, rtol=1e-12, atol=1e-14)


def test_initial_weights_are_scaled_by_what_reaches_an_output_pixel():
    params, _, output_shape = ConvTranspose2D(50, 2, stride=2).init(np.random.default_rng(0), (3, 4, 200))
    assert (params["weight"].shape, output_shape) == ((200, 2, 2, 50), (6, 8, 50))
    np.testing.assert_allclose(params["weight"].std(), np.sqrt(2 / 800), rtol=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_padding": 2}, "expected output_padding below the stride 2, got 2."),
        ({"padding": 3}, "expected padding below the kernel's extent (3, 3), got 3."),
        ({"padding": "same"}, "expected padding to be an integer of at least 0 or a pair of them, got 'same'."),
        ({"filters": 0}, "expected filters to be an integer of at least 1, got 0."),
    ],
)
def test_settings_out_of_range(settings, message):
    with refused(f"ConvTranspose2D: {message}"):
        ConvTranspose2D(**{"filters": 2, "kernel_size": 3, "stride": 2, **settings})


def test_an_input_that_leaves_nothing_or_has_other_channels():
    with refused("ConvTranspose2D", "an output of at least 1x1", "got -1x3"):
        ConvTranspose2D(2, 3, padding=2).output_shape((1, 5, 3))
    params = ConvTranspose2D(2, 3).init(np.random.default_rng(0), (5, 5, 3)).params
    with refused("ConvTranspose2D: expected 3 channels, got 1."):
        ConvTranspose2D(2, 3).forward(params, {}, np.zeros((1, 5, 5, 1)))
