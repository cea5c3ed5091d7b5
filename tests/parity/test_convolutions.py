"""Convolutions of one and two axes, transposed ones, and enlarging, against PyTorch in float64."""

import numpy as np
import pytest

from tests.parity.tensors import assert_same, nhwc, random_params, tensor, train
from xpnet.layers import Conv1D, ConvTranspose2D, DepthwiseConv2D, Upsample2D

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def assert_parity(layer, input_shape, function):
    """Outputs and all gradients; ``function`` gets the input and the parameters with their second axis last."""
    rng = np.random.default_rng(0)
    params, x = random_params(rng, layer, input_shape), rng.normal(size=(2, *input_shape))
    dy = rng.normal(size=(2, *layer.output_shape(input_shape)))
    y, dx, grads = train(layer, params, x, dy)
    x = tensor(x, nchw=True)
    tensors = {name: tensor(array, nchw=name == "weight") for name, array in params.items()}
    expected = function(x, **tensors)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))
    for name, array in tensors.items():
        assert_same(grads[name], nhwc(array.grad) if name == "weight" else array.grad)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize(
    "layer",
    [
        Conv1D(4, 3),
        Conv1D(4, 3, stride=2, padding=1, dilation=2),
        Conv1D(6, 4, padding="same", groups=3),
        Conv1D(4, 1, bias=False),
    ],
)
def test_conv1d(layer):
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    assert_parity(layer, (9, 6), lambda x, weight, bias=None: functional.conv1d(x, weight, bias, *settings))


@pytest.mark.parametrize(
    "layer",
    [DepthwiseConv2D(3, padding=1), DepthwiseConv2D((2, 3), stride=2, dilation=(2, 1), multiplier=2, bias=False)],
)
def test_depthwise(layer):
    settings = (layer.stride, layer.padding, layer.dilation, 3)
    assert_parity(layer, (6, 7, 3), lambda x, weight, bias=None: functional.conv2d(x, weight, bias, *settings))


@pytest.mark.parametrize(
    "layer",
    [
        ConvTranspose2D(4, 2, stride=2),
        ConvTranspose2D(4, 3, padding=1),
        ConvTranspose2D(4, 3, stride=2, padding=1, output_padding=1),
        ConvTranspose2D(4, (4, 2), stride=(3, 1), padding=(2, 0), output_padding=(2, 0), dilation=(2, 3), bias=False),
        ConvTranspose2D(4, 2, stride=3),
        ConvTranspose2D(4, 1, stride=2),
    ],
)
def test_conv_transpose(layer):
    settings = (layer.stride, layer.padding, layer.output_padding, 1, layer.dilation)
    assert_parity(
        layer, (5, 4, 3), lambda x, weight, bias=None: functional.conv_transpose2d(x, weight, bias, *settings)
    )


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("scale", [1, 2, (3, 2), (4, 5)])
def test_upsample(mode, scale):
    factors = scale if isinstance(scale, tuple) else (scale, scale)
    for size in ((5, 4), (1, 3)):
        assert_parity(
            Upsample2D(scale, mode),
            (*size, 3),
            lambda x: functional.interpolate(x, scale_factor=tuple(map(float, factors)), mode=mode),
        )
