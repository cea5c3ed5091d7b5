"""The same network as one would write it in JAX: pure functions, ``value_and_grad``, the whole step under ``jit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from xpnet import backend as backends
from xpnet import layers
from xpnet.backend import Array
from xpnet.benchmark.cases import SEED, Case
from xpnet.errors import InputError
from xpnet.layers import Layer
from xpnet.layout import map_tree, walk
from xpnet.optimizers import Adam, Momentum

Tree = Mapping[str, Any]
Batch = tuple[Array, ...]  # images and labels
_IMAGES = ("NHWC", "OHWI", "NHWC")


def apply(layer: Layer, params: Tree, state: Tree, x: Array, key: Array | None) -> tuple[Array, Tree]:
    """Output and new state of a layer; training if there is a key.

    Raises InputError for a layer that has no peer.
    """
    match layer:
        case layers.Sequential():
            new_state = {}
            for number, (name, part) in enumerate(layer.layers):
                part_key = None if key is None else jax.random.fold_in(key, number)
                x, new_state[name] = apply(part, params[name], state[name], x, part_key)
            return x, new_state
        case layers.Residual():
            y, branch = apply(layer.branch, params["branch"], state["branch"], x, key)
            if layer.shortcut is None:
                return y + x, {"branch": branch}
            x, shortcut = apply(layer.shortcut, params["shortcut"], state["shortcut"], x, key)
            return y + x, {"branch": branch, "shortcut": shortcut}
        case layers.BatchNorm(frozen=False):
            return _batch_norm(layer, params, state, x, train=key is not None)
    return _stateless(layer, params, state, x, key), state


def _stateless(layer: Layer, params: Tree, state: Tree, x: Array, key: Array | None) -> Array:
    match layer:
        case layers.Conv2D():
            window = layer.window
            y = lax.conv_general_dilated(
                x,
                params["weight"],
                window.stride,
                window.padding,
                rhs_dilation=window.dilation,
                dimension_numbers=_IMAGES,
                feature_group_count=layer.groups,
            )
            return y + params["bias"] if layer.bias else y
        case layers.Dense():
            return x @ params["weight"].T + params["bias"]
        case layers.MaxPool2D(ceil=False):
            return _pool(layer, x, -jnp.inf, lax.max)
        case layers.AvgPool2D(ceil=False):
            return _pool(layer, x, 0.0, lax.add) / (layer.window.kernel[0] * layer.window.kernel[1])
        case layers.GlobalAvgPool2D():
            return x.mean(axis=(1, 2))
        case layers.Normalize():
            return (x - state["mean"]) * state["scale"]
        case layers.Dropout():
            if key is None or layer.p == 0:
                return x
            return jnp.where(jax.random.bernoulli(key, 1 - layer.p, x.shape), x / (1 - layer.p), 0)
        case layers.ReLU():
            return jax.nn.relu(x)
        case layers.Flatten():
            return x.reshape(len(x), -1)
    raise InputError(f"Benchmark: expected a layer that has a peer in JAX, got {layer}. Leave out the peer jax.")


def _pool(layer: layers.MaxPool2D | layers.AvgPool2D, x: Array, start: float, operation: Any) -> Array:
    window = layer.window
    padding = ((0, 0), *window.padding, (0, 0))
    return lax.reduce_window(x, start, operation, (1, *window.kernel, 1), (1, *window.stride, 1), padding)


def _batch_norm(layer: layers.BatchNorm, params: Tree, state: Tree, x: Array, train: bool) -> tuple[Array, Tree]:
    mean, variance = state["running_mean"], state["running_var"]
    if train:
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        keep, count = 1 - layer.momentum, x.size // x.shape[-1]
        state = {
            "running_mean": keep * state["running_mean"] + layer.momentum * mean,
            "running_var": keep * state["running_var"] + layer.momentum * count / (count - 1) * variance,
        }
    return (x - mean) * lax.rsqrt(variance + layer.eps) * params["weight"] + params["bias"], state


def make_momentum(optimizer: Momentum) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions init(params) -> memory and update(params, gradient, memory) -> (params, memory)."""
    alpha, mu, decay = optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay

    def update(params: Tree, gradient: Tree, velocity: Tree) -> tuple[Tree, Tree]:
        velocity = jax.tree.map(lambda v, g, p: mu * v - alpha * (g + decay * p), velocity, gradient, params)
        return jax.tree.map(jnp.add, params, velocity), velocity

    return lambda params: jax.tree.map(jnp.zeros_like, params), update


def make_adam(optimizer: Adam) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions init(params) -> memory and update(params, gradient, memory) -> (params, memory)."""
    alpha, beta1, beta2 = optimizer.learning_rate, optimizer.beta1, optimizer.beta2

    def init(params: Tree) -> tuple[Array, Tree, Tree]:
        return jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)

    def update(params: Tree, gradient: Tree, memory: tuple[Array, Tree, Tree]) -> tuple[Tree, Any]:
        steps, mean, square = memory
        steps = steps + 1
        gradient = jax.tree.map(lambda g, p: g + optimizer.weight_decay * p, gradient, params)
        mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, gradient)
        square = jax.tree.map(lambda s, g: beta2 * s + (1 - beta2) * g * g, square, gradient)

        def step(p: Array, m: Array, s: Array) -> Array:
            size = jnp.sqrt(s / (1 - beta2**steps)) + optimizer.epsilon
            return p - alpha * m / (1 - beta1**steps) / size

        return jax.tree.map(step, params, mean, square), (steps, mean, square)

    return init, update


class JaxTwin:
    """Pure functions of the network's layers, jitted, and the arrays that they act on."""

    def __init__(self, case: Case, device: str) -> None:
        network, home = case.network(), backends.resolve(device, "jax")
        self._layer, self._dtype = case.layer, home.dtype(case.dtype)
        self._params = map_tree(home.asarray, network.layout.unflatten(network.theta))
        self._state = map_tree(home.asarray, network.state)
        self._batch = tuple(map(home.asarray, case.batch()))  # an argument: what a step closes over is compiled into it
        optimizer = case.make_optimizer()
        init, self._update = make_adam(optimizer) if isinstance(optimizer, Adam) else make_momentum(optimizer)
        self._memory = init(self._params)
        self._key = jax.device_put(jax.random.key(SEED), home.device)
        self._last: Any = None

    def gradient(self) -> Mapping[str, np.ndarray]:
        """See ``Implementation``."""
        gradient, _ = jax.jit(jax.grad(self._loss, has_aux=True))(self._params, self._state, self._batch, self._key)
        return {name: np.asarray(array) for name, array in walk(gradient)}

    def training(self) -> Callable[[], object]:
        """See ``Implementation``."""

        @jax.jit
        def step(params: Tree, state: Tree, memory: Any, batch: Batch, key: Array, number: Array) -> tuple[Any, ...]:
            key = jax.random.fold_in(key, number)
            (loss, state), gradient = jax.value_and_grad(self._loss, has_aux=True)(params, state, batch, key)
            return (*self._update(params, gradient, memory), state, loss)

        number = 0

        def train() -> None:
            nonlocal number
            self._params, self._memory, self._state, self._last = step(
                self._params, self._state, self._memory, self._batch, self._key, number
            )
            number += 1

        return train

    def inference(self) -> Callable[[], Any]:
        """See ``Implementation``."""

        @jax.jit
        def logits(params: Tree, state: Tree, images: Array) -> Array:
            return apply(self._layer, params, state, images.astype(self._dtype), None)[0]

        def predict() -> Array:
            self._last = logits(self._params, self._state, self._batch[0])
            return self._last

        return predict

    def wait(self) -> None:
        """See ``Implementation``."""
        jax.block_until_ready((self._params, self._last))

    def _loss(self, params: Tree, state: Tree, batch: Batch, key: Array) -> tuple[Array, Tree]:
        images, labels = batch
        logits, state = apply(self._layer, params, state, images.astype(self._dtype), key)
        log_probabilities = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean(), state


def make(case: Case, device: str, _: str) -> JaxTwin:
    """The JAX version; it has no variants."""
    return JaxTwin(case, device)
