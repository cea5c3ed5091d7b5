"""Activations against PyTorch: outputs and gradients, in float64."""

import numpy as np
import pytest

from tests.parity.tensors import assert_same, random_params, tensor, train
from xpnet.layers import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def test_relu_and_its_slope_at_0():
    values, dy = np.array([[-1.0, -0.0, 0.0, 2.0]]), np.array([[3.0, 4.0, 5.0, 6.0]])
    y, dx, _ = train(ReLU(), {}, values, dy)
    x = tensor(values)
    expected = functional.relu(x)
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, x.grad)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (LeakyReLU(0.2), lambda x: functional.leaky_relu(x, 0.2)),
        (ReLU6(), functional.relu6),
        (Sigmoid(), torch.sigmoid),
        (Tanh(), torch.tanh),
        (Softplus(), functional.softplus),
        (Softmax(), lambda x: functional.softmax(x, dim=-1)),
        (ELU(0.7), lambda x: functional.elu(x, 0.7)),
        (SELU(), functional.selu),
        (HardSigmoid(), functional.hardsigmoid),
        (HardSwish(), functional.hardswish),
        (SiLU(), functional.silu),
        (GELU(), functional.gelu),
        (GELU(approximate="tanh"), lambda x: functional.gelu(x, approximate="tanh")),
    ],
)
def test_activations_from_tiny_to_huge(layer, function):
    rng = np.random.default_rng(8)
    values = np.concatenate([rng.normal(size=12), [0.0, 1e-9, -1e-9, 19.0, -19.0, 800.0, -800.0, 3.5]]).reshape(4, 5)
    dy = rng.normal(size=(4, 5))
    y, dx, _ = train(layer, {}, values, dy)
    x = tensor(values)
    expected = function(x)
    expected.backward(torch.tensor(dy))
    # PyTorch's softplus is linear from 20 on, which is 2e-9 off the formula.
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-11, atol=1e-13)
    # Its hard sigmoid and hard swish multiply gradients by 1/6 as float32 has it.
    rtol = 1e-7 if isinstance(layer, HardSigmoid | HardSwish) else 1e-9
    np.testing.assert_allclose(dx, x.grad, rtol=rtol, atol=1e-13)


def test_prelu():
    rng, layer = np.random.default_rng(10), PReLU()
    params, x, dy = random_params(rng, layer, (5, 3)), rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3))
    x[0, 0] = 0  # where the slope is that of below 0
    y, dx, grads = train(layer, params, x, dy)
    x, weight = tensor(x, nchw=True), tensor(params["weight"])
    expected = functional.prelu(x, weight)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, np.moveaxis(expected.detach().numpy(), 1, -1))
    assert_same(dx, np.moveaxis(x.grad.numpy(), 1, -1))
    assert_same(grads["weight"], weight.grad)
