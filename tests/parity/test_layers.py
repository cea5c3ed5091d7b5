"""Layers against PyTorch with the same weights: outputs, dx and every parameter gradient, in float64."""

import numpy as np
import pytest

from tests.parity.tensors import assert_same, nhwc, random_params, tensor, train
from xpnet.layers import (
    BatchNorm,
    ChannelShuffle,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
    ZeroPad2D,
)
from xpnet.network import Network

torch = pytest.importorskip("torch")
functional = torch.nn.functional


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


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_channel_shuffle(groups):
    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 3, 4, 6))
    y, dx, _ = train(ChannelShuffle(groups), {}, x, dy)
    x = tensor(x, nchw=True)
    expected = functional.channel_shuffle(x, groups)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected.detach()))
    assert_same(dx, nhwc(x.grad))


def test_zero_pad():
    rng = np.random.default_rng(5)
    x, dy = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(2, 6, 5, 2))
    y, dx, _ = train(ZeroPad2D(((1, 2), (0, 1))), {}, x, dy)
    x = tensor(x, nchw=True)
    expected = torch.nn.ZeroPad2d((0, 1, 1, 2))(x)
    expected.backward(tensor(dy, nchw=True))
    assert_same(y, nhwc(expected.detach()))
    assert_same(dx, nhwc(x.grad))
