"""Layers and tensors as both sides take them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-12, atol=1e-13, strict=True)


def tensor(array, *, nchw=False):
    """A leaf that records gradients, with channels in front where PyTorch wants them."""
    array = np.moveaxis(array, -1, 1) if nchw else array
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def nhwc(images):
    return np.moveaxis(images.detach().numpy(), 1, -1)


def train(layer, params, x, dy):
    y, cache, _ = layer.forward(params, {}, x, train=True)
    return y, *layer.backward(params, cache, dy)


def random_params(rng, layer, input_shape):
    params = layer.init(rng, input_shape).params
    return {name: array + rng.normal(0.0, 0.1, array.shape) for name, array in params.items()}
