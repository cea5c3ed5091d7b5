"""Pooling against PyTorch: outputs and gradients, in float64."""

import numpy as np
import pytest

from tests.parity.tensors import assert_same, nhwc, tensor, train
from xpnet.layers import AdaptiveAvgPool2D, AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D

torch = pytest.importorskip("torch")
functional = torch.nn.functional


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        MaxPool2D(2),
        MaxPool2D((2, 3)),
        MaxPool2D(3, stride=2),
        MaxPool2D(3, stride=2, padding=1),
        MaxPool2D((3, 2), stride=(1, 3), padding=(1, 0)),
        MaxPool2D(2, stride=3),
        MaxPool2D(4, stride=1, padding=2),
        MaxPool2D(3, stride=2, ceil=True),
        MaxPool2D((2, 3), stride=(3, 2), padding=1, ceil=True),
        MaxPool2D((9, 2), stride=3, ceil=True),
    ],
)
def test_max_pool(layer, ties):
    rng = np.random.default_rng(2)
    x = rng.integers(-1, 2, (2, 7, 8, 3)).astype(float) if ties else rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))


@pytest.mark.parametrize(
    "layer",
    [
        AvgPool2D(2),
        AvgPool2D(3, stride=2, padding=1),
        AvgPool2D((2, 3), stride=(3, 1)),
        AvgPool2D(3, stride=2, padding=1, ceil=True),
        AvgPool2D((2, 3), stride=(3, 2), padding=1, ceil=True),
        AvgPool2D((4, 5), stride=(2, 4), ceil=True),
        AvgPool2D((3, 2), stride=2, padding=1, count_padding=False),
        AvgPool2D((2, 3), stride=(3, 2), padding=1, ceil=True, count_padding=False),
    ],
)
def test_avg_pool(layer):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.avg_pool2d(
        x, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil, count_include_pad=layer.count_padding
    )
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))


def test_global_avg_pool():
    rng = np.random.default_rng(7)
    x, dy = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(2, 3))
    y, dx, _ = train(GlobalAvgPool2D(), {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, nhwc(x.grad))


@pytest.mark.parametrize("size", [1, 2, (7, 8), (3, 5), (10, 9)])
def test_adaptive_avg_pool(size):
    rng, layer = np.random.default_rng(8), AdaptiveAvgPool2D(size)
    x = rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.adaptive_avg_pool2d(x, size)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))


@pytest.mark.parametrize("ties", [False, True])
def test_global_max_pool(ties):
    rng = np.random.default_rng(9)
    x = rng.integers(-1, 2, (2, 5, 4, 3)).astype(float) if ties else rng.normal(size=(2, 5, 4, 3))
    dy = rng.normal(size=(2, 3))
    y, dx, _ = train(GlobalMaxPool2D(), {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.adaptive_max_pool2d(x, 1)[:, :, 0, 0]
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, nhwc(x.grad))
