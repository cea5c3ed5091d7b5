"""Layers against PyTorch with the same weights: outputs, dx and every parameter gradient, in float64."""

import numpy as np
import pytest

from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.network import Network

torch = pytest.importorskip("torch")
functional = torch.nn.functional


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


def test_dense():
    rng, layer = np.random.default_rng(0), Dense(4)
    params, x, dy = random_params(rng, layer, (5,)), rng.normal(size=(3, 5)), rng.normal(size=(3, 4))
    y, dx, grads = train(layer, params, x, dy)
    weight, bias, x = tensor(params["weight"]), tensor(params["bias"]), tensor(x)
    expected = functional.linear(x, weight, bias)
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, x.grad)
    assert_same(grads["weight"], weight.grad)
    assert_same(grads["bias"], bias.grad)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # PyTorch's remark on its speed
@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(4, 3),
        Conv2D(4, 5, padding=2),
        Conv2D(4, (3, 2), padding=(0, 1)),
        Conv2D(4, 3, stride=2),
        Conv2D(4, (2, 3), stride=(3, 2), padding=(1, 2)),
        Conv2D(4, 3, dilation=2),
        Conv2D(4, (3, 2), stride=(2, 1), padding=(3, 2), dilation=(2, 3)),
        Conv2D(4, 1),
        Conv2D(4, 1, stride=3, padding=1),
        Conv2D(4, (2, 3), padding="same"),
        Conv2D(4, (3, 4), padding="same", dilation=(1, 2)),
        Conv2D(4, 3, padding="valid"),
    ],
)
def test_conv(layer):
    rng = np.random.default_rng(1)
    params, x = random_params(rng, layer, (7, 8, 3)), rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, grads = train(layer, params, x, dy)
    weight, bias, x = tensor(params["weight"], nchw=True), tensor(params["bias"]), tensor(x, nchw=True)
    expected = functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))
    assert_same(grads["weight"], nhwc(weight.grad))
    assert_same(grads["bias"], bias.grad)


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
    ],
)
def test_max_pool(layer, ties):
    rng = np.random.default_rng(2)
    x = rng.integers(-1, 2, (2, 7, 8, 3)).astype(float) if ties else rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected))
    assert_same(dx, nhwc(x.grad))


def test_relu_and_its_slope_at_0():
    values, dy = np.array([[-1.0, -0.0, 0.0, 2.0]]), np.array([[3.0, 4.0, 5.0, 6.0]])
    y, dx, _ = train(ReLU(), {}, values, dy)
    x = tensor(values)
    expected = functional.relu(x)
    expected.backward(torch.tensor(dy))
    assert_same(y, expected.detach())
    assert_same(dx, x.grad)


def test_a_whole_network():
    """The MNIST starter, with the images and weights of a small batch."""
    stages = [layer for _ in range(2) for layer in (Conv2D(16, 5, padding=2), ReLU(), MaxPool2D(2))]
    network = Network(Sequential([*stages, Flatten(), Dense(10)]), (28, 28, 1), dtype="float64")
    rng = np.random.default_rng(4)
    network.theta = network.theta + rng.normal(0.0, 0.01, network.theta.shape)  # or the biases were 0
    x, labels = rng.normal(size=(3, 28, 28, 1)), np.array([7, 0, 2])
    result = network.loss_and_gradient(network.theta, network.state, x, labels)

    weights = {name: tensor(array, nchw=array.ndim == 4) for name, array in network.parameters().items()}
    h = tensor(x, nchw=True)
    for conv in ("conv1", "conv2"):
        h = functional.conv2d(h, weights[f"{conv}.weight"], weights[f"{conv}.bias"], padding=2)
        h = functional.max_pool2d(functional.relu(h), 2)
    h = torch.flatten(torch.permute(h, (0, 2, 3, 1)), 1)
    logits = functional.linear(h, weights["dense1.weight"], weights["dense1.bias"])
    loss = functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()

    assert_same(result.outputs, logits.detach())
    assert_same(np.asarray(result.loss), loss.detach())
    gradient = network.layout.unflatten(result.gradient)
    for name, weight in weights.items():
        layer, tensor_name = name.split(".")
        expected = nhwc(weight.grad) if weight.ndim == 4 else weight.grad
        assert_same(gradient[layer][tensor_name], expected)


def test_grouped_and_1x1_convolutions():
    rng = np.random.default_rng(5)
    for layer in (Conv2D(6, 3, groups=3, stride=2, padding=1), Conv2D(4, 1, stride=2, bias=False)):
        params, x = random_params(rng, layer, (7, 8, 6)), rng.normal(size=(2, 7, 8, 6))
        dy = rng.normal(size=(2, *layer.output_shape((7, 8, 6))))
        y, dx, grads = train(layer, params, x, dy)
        weight, x = tensor(params["weight"], nchw=True), tensor(x, nchw=True)
        bias = tensor(params["bias"]) if layer.bias else None
        expected = functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        expected.backward(tensor(dy, nchw=True))
        assert_same(y, nhwc(expected))
        assert_same(dx, nhwc(x.grad))
        assert_same(grads["weight"], nhwc(weight.grad))


@pytest.mark.parametrize("layer", [AvgPool2D(2), AvgPool2D(3, stride=2, padding=1), AvgPool2D((2, 3), stride=(3, 1))])
def test_avg_pool(layer):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 7, 8, 3))
    dy = rng.normal(size=(2, *layer.output_shape((7, 8, 3))))
    y, dx, _ = train(layer, {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.avg_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
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


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (LeakyReLU(0.2), lambda x: functional.leaky_relu(x, 0.2)),
        (Sigmoid(), torch.sigmoid),
        (Tanh(), torch.tanh),
        (Softplus(), functional.softplus),
        (Softmax(), lambda x: functional.softmax(x, dim=-1)),
    ],
)
def test_activations_from_tiny_to_huge(layer, function):
    rng = np.random.default_rng(8)
    values = np.concatenate([rng.normal(size=12), [0.0, 1e-9, -1e-9, 19.0, -19.0, 800.0, -800.0, 3.0]]).reshape(4, 5)
    dy = rng.normal(size=(4, 5))
    y, dx, _ = train(layer, {}, values, dy)
    x = tensor(values)
    expected = function(x)
    expected.backward(torch.tensor(dy))
    # PyTorch's softplus is linear from 20 on, which is 2e-9 off the formula.
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dx, x.grad, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 5, 3)])
@pytest.mark.parametrize("mode", ["train", "frozen", "evaluate"])
def test_batch_norm(shape, mode):
    rng, layer = np.random.default_rng(9), BatchNorm(momentum=0.3, eps=1e-3, frozen=mode == "frozen")
    params = random_params(rng, layer, shape[1:])
    state = {"running_mean": rng.normal(size=3), "running_var": rng.uniform(0.5, 2.0, 3)}
    x, dy = rng.normal(1.0, 2.0, shape), rng.normal(size=shape)

    theirs = torch.nn.BatchNorm1d(3, eps=1e-3, momentum=0.3, dtype=torch.float64)
    for name, array in {**params, **state}.items():
        getattr(theirs, name).data = torch.tensor(array)
    theirs.train(mode == "train")
    rows = tensor(x.reshape(-1, 3))
    expected = theirs(rows)
    expected.backward(torch.tensor(dy.reshape(-1, 3)))

    y, cache, new_state = layer.forward(params, state, x, train=mode != "evaluate")
    assert_same(y, expected.detach().numpy().reshape(shape))
    assert_same(new_state["running_mean"], theirs.running_mean)
    assert_same(new_state["running_var"], theirs.running_var)
    if mode != "evaluate":
        dx, grads = layer.backward(params, cache, dy)
        assert_same(dx, rows.grad.numpy().reshape(shape))
        assert_same(grads["weight"], theirs.weight.grad)
        assert_same(grads["bias"], theirs.bias.grad)
