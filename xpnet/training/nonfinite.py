"""Where numbers that are not finite come from: a training step once more, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, array_namespace
from xpnet.layers.base import Backward, Cache, Forward, Params, State
from xpnet.layers.containers import Wrapper, map_leaves
from xpnet.layers.errors import LayerError
from xpnet.layout import walk
from xpnet.network import Network


def first_nonfinite(
    network: Network,
    theta: Array,
    state: State,
    x: Array,
    targets: Array,
    key: Array | None,
    weights: Array | None = None,
) -> str | None:
    """The first layer, by dotted path, whose output or gradient is not finite in a training step on this batch.

    Outputs are looked at from the first layer to the last, gradients from the last to the first. None if all of them,
    and the loss, are finite.
    """
    layer, params = map_leaves(lambda _, leaf: _Watched(leaf), network.layer), network.layout.unflatten(theta)
    try:
        outputs, cache, _ = layer.forward(params, state, x, train=True, key=key)
        loss, loss_cache = network.loss.forward(outputs, targets, weights)
        if not all_finite(loss):
            return f"{type(network.loss).__name__}: the loss is not finite, but all layers' outputs are"
        layer.backward(params, cache, network.loss.backward(loss_cache), need_dx=False)
    except _NotFiniteError as error:
        return str(error)
    return None


def all_finite(array: Array) -> bool:
    """Whether no element is infinite or NaN; waits for the device."""
    xp = array_namespace(array)
    return bool(xp.all(xp.isfinite(array)))


class _NotFiniteError(LayerError):
    """Ends the step; the containers around the layer complete its path."""


@dataclass(frozen=True)
class _Watched(Wrapper):
    """A layer that looks at what it hands on."""

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        result = self.inner.unchecked_forward(params, state, x, train=train, key=key)
        self._check("output", result.y)
        self._check_each("new state", result.state)
        return result

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        result = self.inner.unchecked_backward(params, cache, dy, need_dx=need_dx)
        self._check_each("gradient with respect to", result.grads)
        if result.dx is not None:
            self._check("gradient with respect to its input", result.dx)
        return result

    def _check_each(self, what: str, tensors: Mapping[str, Any]) -> None:
        for name, tensor in walk(tensors):
            self._check(f"{what} {name}", tensor)

    def _check(self, what: str, array: Array) -> None:
        if not all_finite(array):
            raise _NotFiniteError(self.inner, f"its {what} is the first that is not finite")
