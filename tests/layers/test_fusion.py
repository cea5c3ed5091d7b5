"""A ReLU before a max-pool is computed after it, one after a batch normalisation or a sum with it: the same bits."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import assert_close, leaves
from xpnet.errors import InputError
from xpnet.layers import BatchNorm, Conv2D, Dense, MaxPool2D, ReLU, Residual, Sequential
from xpnet.layers.containers import map_leaves
from xpnet.layers.fusion import prediction_steps, steps
from xpnet.layout import map_tree


def apart(layer):
    """The same layers under other types, which are computed one by one."""

    def other(name, leaf):
        settings = {field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)}
        return type(f"Other{type(leaf).__name__}", (type(leaf),), {})(**settings)

    return map_leaves(other, layer)


@pytest.mark.parametrize(
    "window", [MaxPool2D(2), MaxPool2D((2, 3)), MaxPool2D(3, stride=2, padding=1), MaxPool2D(2, ceil=True)]
)
def test_relu_and_pool_give_the_same_bits_in_either_order(backend, window):
    xp, rng = backend.xp, np.random.default_rng(0)
    x = backend.asarray(rng.integers(-2, 3, (2, 5, 6, 3)).astype(np.float32))  # zeros and ties
    layer = Sequential([ReLU(), window])
    results = []
    for net in (layer, apart(layer)):
        params, state, shape = net.init(rng, (5, 6, 3))
        assert len(steps(net.layers)) == (1 if net is layer else 2)
        y, cache, new_state = net.forward(params, state, x, train=True)
        assert new_state == state
        assert_close(net.forward(params, state, x).y, y)
        dy = backend.asarray(np.arange(1.0, 1 + 2 * np.prod(shape), dtype=np.float32).reshape(2, *shape))
        results.append((y, net.backward(params, cache, dy).dx))
    for one, other in zip(*results, strict=True):
        assert bool(xp.all(one == other))


def test_only_a_relu_right_before_a_max_pool_joins_it():
    names = [step.name for step in steps(Sequential([ReLU(), ReLU(), MaxPool2D(2), MaxPool2D(2)]).layers)]
    assert names == ["relu1", "pool1", "pool2"]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("need_dx", [False, True])
def test_normalisation_and_relu_give_the_same_bits_together_as_apart(backend, frozen, need_dx):
    x, dy = (backend.asarray(np.random.default_rng(seed).normal(size=(5, 4, 3, 2))) for seed in range(2))
    layer = Sequential([BatchNorm(frozen=frozen), ReLU()])
    results = []
    for net in (layer, apart(layer)):
        host_params, host_state, _ = net.init(np.random.default_rng(0), (4, 3, 2))
        params, state = (
            {name: {key: backend.asarray(array) for key, array in inner.items()} for name, inner in tree.items()}
            for tree in (host_params, host_state)
        )
        assert len(steps(net.layers)) == (1 if net is layer else 2)
        y, cache, after = net.forward(params, state, x, train=True)
        dx, grads = net.backward(params, cache, dy, need_dx=need_dx)
        results.append([y, *leaves(after), *leaves(grads), *([dx] if need_dx else []), net.forward(params, after, x).y])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("shortcut", [None, Dense(3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_residual_sum_and_relu_give_the_same_together_as_apart(backend, shortcut, dtype):
    rng = np.random.default_rng(0)
    x, dy = (backend.asarray(rng.normal(size=(5, 3)), dtype) for _ in range(2))
    layer = Sequential([Residual(Dense(3), shortcut), ReLU()])
    results = []
    for net in (layer, apart(layer)):
        host = net.init(np.random.default_rng(1), (3,)).params
        params = map_tree(lambda array: backend.asarray(array, dtype), host)
        state = map_tree(lambda array: array, net.init(rng, (3,)).state)
        assert len(steps(net.layers)) == (1 if net is layer else 2)
        y, cache, _ = net.forward(params, state, x, train=True)
        dx, grads = net.backward(params, cache, dy)
        results.append([y, dx, *leaves(grads), net.forward(params, state, x).y])
    for one, other in zip(*results, strict=True):
        assert one.dtype == x.dtype
        assert_close(one, other)
    assert bool(backend.xp.any(results[0][0] == 0))


def test_a_relu_joins_the_pool_after_it_rather_than_the_normalisation_before_it():
    layers = [BatchNorm(), ReLU(), Dense(2), BatchNorm(), ReLU(), MaxPool2D(2), BatchNorm(), ReLU(), ReLU()]
    found = steps(Sequential(layers).layers)
    assert [step.name for step in found] == ["bn1", "dense1", "bn2", "pool1", "bn3", "relu4"]
    assert [step.position for step in found] == [0, 2, 3, 5, 6, 8]


NORMALIZED = [Conv2D(4, 3), BatchNorm(), ReLU(), Conv2D(4, 1, bias=False), BatchNorm(), Conv2D(3, 2), ReLU()]


def test_a_convolution_takes_in_what_follows_it_in_prediction_alone():
    layers = Sequential([*NORMALIZED, BatchNorm(), Conv2D(2, 1), BatchNorm(), ReLU(), MaxPool2D(2)]).layers
    joined = [(step.position, step.name, step.norm) for step in prediction_steps(layers)]
    expected = [(0, "conv1", "bn1"), (3, "conv2", "bn2"), (5, "conv3", None), (7, "bn3", None)]
    assert joined == [*expected, (8, "conv4", "bn4"), (11, "pool1", None)]
    assert "conv1" in [step.name for step in steps(layers)]
    assert "bn1" in [step.name for step in steps(layers)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predicting_together_gives_what_layers_give_one_by_one(backend, dtype):
    rng = np.random.default_rng(0)
    layer = Sequential(NORMALIZED)
    host = layer.init(rng, (7, 8, 2))
    noise = {name: {key: rng.uniform(0.5, 2, a.shape) for key, a in own.items()} for name, own in host.state.items()}
    params, state = (
        {name: {key: backend.asarray(array, dtype) for key, array in own.items()} for name, own in tree.items()}
        for tree in (host.params, noise)
    )
    x = backend.asarray(rng.normal(size=(3, 7, 8, 2)), dtype)
    y, cache, after = layer.forward(params, state, x)
    *_, (_, expected) = layer.trace(params, state, x)
    assert cache is None
    assert after == state
    assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_an_error_names_the_pool(backend):
    net = Sequential([ReLU(), MaxPool2D(7)])
    x = backend.asarray(np.zeros((1, 4, 4, 1), np.float32))
    with pytest.raises(InputError, match="pool1"):
        net.forward({"relu1": {}, "pool1": {}}, {"relu1": {}, "pool1": {}}, x)
