"""Normalisation of each example against PyTorch: outputs, dx and every parameter gradient, in float64."""

import numpy as np
import pytest

from tests.parity.tensors import assert_same, nhwc, random_params, tensor, train
from xpnet.layers import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm

torch = pytest.importorskip("torch")
functional = torch.nn.functional


@pytest.mark.parametrize("layer", [LayerNorm(eps=1e-3), RMSNorm(eps=1e-3)])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3, 6)])
def test_norms_of_the_last_axis(layer, shape):
    rng = np.random.default_rng(0)
    params, x, dy = random_params(rng, layer, shape[1:]), rng.normal(2.0, 3.0, shape), rng.normal(size=shape)
    y, dx, grads = train(layer, params, x, dy)
    x, tensors = tensor(x), {name: tensor(array) for name, array in params.items()}
    norm = functional.layer_norm if isinstance(layer, LayerNorm) else functional.rms_norm
    expected = norm(x, shape[-1:], **tensors, eps=1e-3)
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, x.grad)
    for name, array in tensors.items():
        assert_same(grads[name], array.grad)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups):
    rng, layer = np.random.default_rng(1), GroupNorm(groups=groups, eps=1e-3)
    params, x, dy = random_params(rng, layer, (4, 5, 6)), rng.normal(size=(2, 4, 5, 6)), rng.normal(size=(2, 4, 5, 6))
    y, dx, grads = train(layer, params, x, dy)
    x, weight, bias = tensor(x, nchw=True), tensor(params["weight"]), tensor(params["bias"])
    expected = functional.group_norm(x, groups, weight, bias, 1e-3)
    if groups == 6:
        instances = functional.instance_norm(x, weight=weight, bias=bias, eps=1e-3)
        np.testing.assert_allclose(instances.detach(), expected.detach(), rtol=1e-12)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))
    assert_same(grads["weight"], weight.grad)
    assert_same(grads["bias"], bias.grad)


@pytest.mark.parametrize("layer", [LocalResponseNorm(), LocalResponseNorm(7, alpha=2.0, beta=0.4, k=0.5)])
def test_local_response_norm(layer):
    rng = np.random.default_rng(2)
    x, dy = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 3, 4, 6))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))
