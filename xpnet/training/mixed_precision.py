"""Training in float16 where that is safe: forward and backward passes; parameters, statistics and the loss in float32.

float16 ends at 65504 and loses what is below 6e-8, where many gradients are. So the loss's gradient is multiplied by a
scale before the backward pass and the parameters' divided by it after. A step whose gradient is not finite is left
out and the scale as_float16; after 2000 good steps in a row it is doubled.

Source: Micikevicius et al., "Mixed precision training", ICLR 2018, section 3; the numbers are PyTorch's (GradScaler).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.function import LossAndGradient
from xpnet.layers import BatchNorm, Normalize
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.layers.containers import Wrapper, map_leaves
from xpnet.layout import map_tree
from xpnet.losses import Loss, LossForward
from xpnet.network import Network
from xpnet.optimizers import OptimizerState
from xpnet.shapes import Shape

FIRST_SCALE, GROWTH, BACKOFF, INTERVAL = 65536.0, 2.0, 0.5, 2000
LEAST_SCALE = 2.0**-16  # below it no gradient is left in float16 that a further halving would save
SCALE, GOOD_STEPS = "loss_scale", "good_steps"  # kept beside the optimizer's state


class MixedPrecision:
    """A network's forward and backward passes in float16, with a loss scale that follows what they can hold."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._layer = map_leaves(_safe, network.layer)

    @staticmethod
    def init(theta: Array) -> OptimizerState:
        """The scale and the number of good steps before the first one."""
        xp = array_namespace(theta)
        return {
            SCALE: xp.full((1,), FIRST_SCALE, dtype=theta.dtype, device=device(theta)),
            GOOD_STEPS: xp.zeros((1,), dtype=theta.dtype, device=device(theta)),
        }

    def as_float16(self, scale: Array | float = 1.0, loss: Loss | None = None) -> Network:
        """The network that computes in float16, given θ and images in float16, but keeps its state in float32.

        ``loss`` takes the place of its own.
        """
        network = copy.copy(self._network)
        network.layer = self._layer
        scaled = _ScaledLoss(loss or self._network.loss, scale)
        network.loss = cast("Loss", scaled)  # a step asks for its two functions only
        return network

    def loss_and_gradient(
        self,
        theta: Array,
        state: State,
        scale: Array,
        x: Array,
        targets: Array,
        weights: Array | None,
        key: Array | None,
        loss: Loss | None = None,
    ) -> LossAndGradient:
        """The loss and, in θ's dtype and without the scale, its gradient; not finite where float16 has overflowed.

        ``loss`` takes the place of the network's.
        """
        network = self.as_float16(scale, loss)
        result = network.unchecked_loss_and_gradient(in_float16(theta), state, in_float16(x), targets, weights, key=key)
        return result._replace(gradient=array_namespace(theta).astype(result.gradient, theta.dtype) / scale)

    @staticmethod
    def skip_on_overflow(before: Any, after: Any, gradient: Array) -> Any:
        """The values after a step: as they were if its gradient is not finite; and the scale for the next one."""
        xp = array_namespace(gradient)
        is_good = xp.all(xp.isfinite(gradient))
        scale, good_steps = before.optimizer[SCALE], before.optimizer[GOOD_STEPS] + 1
        is_due = good_steps == INTERVAL
        kept = before._replace(
            theta=xp.where(is_good, after.theta, before.theta),
            state=_where(is_good, after.state, before.state),
            optimizer=_where(is_good, after.optimizer, before.optimizer),
        )
        grown = xp.where(is_due, scale * GROWTH, scale)
        scaling = {
            SCALE: xp.where(is_good, grown, scale * BACKOFF),
            GOOD_STEPS: xp.where(is_due | ~is_good, xp.zeros_like(good_steps), good_steps),
        }
        return kept._replace(optimizer={**kept.optimizer, **scaling})


def in_float16(array: Array) -> Array:
    """The array as float16, which the standard lacks, but every library used for training has."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float16)


def _safe(name: str, layer: Layer) -> Layer:
    """Layers whose sums or differences float16 would spoil compute in float32."""
    return _InFloat32(layer) if isinstance(layer, BatchNorm | Normalize) else layer


@dataclass(frozen=True)
class _InFloat32(Wrapper):
    """A layer that takes and gives float16 and computes in float32."""

    def check_input(
        self, params: Params, state: State, shape: Shape, like: Array, *, train: bool = False, key: Array | None = None
    ) -> None:
        params = map_tree(_in_float32, params)
        self.inner.check_input(params, state, shape, _in_float32(like[:0, ...]), train=train, key=key)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        params = map_tree(_in_float32, params)
        y, cache, state = self.inner.unchecked_forward(params, state, _in_float32(x), train=train, key=key)
        return Forward(in_float16(y), cache, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        params = map_tree(_in_float32, params)
        dx, grads = self.inner.unchecked_backward(params, cache, _in_float32(dy), need_dx=need_dx)
        return Backward(None if dx is None else in_float16(dx), map_tree(in_float16, grads))


@dataclass(frozen=True, eq=False)
class _ScaledLoss:
    """A loss in float32 of logits in float16, whose gradient is a multiple of the true one."""

    inner: Loss
    scale: Array | float

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        return self.inner.forward(_in_float32(outputs), targets, weights)

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the logits, times the scale."""
        return in_float16(self.inner.backward(cache) * self.scale)


def _in_float32(array: Array) -> Array:
    xp = array_namespace(array)
    return xp.astype(array, xp.float32)


def _where(condition: Array, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The one tree of arrays or the other; what is the same in both stays as it is."""
    return {
        name: _where(condition, one.get(name, value), value)
        if isinstance(value, Mapping)
        else _choose(condition, one.get(name, value), value)
        for name, value in other.items()
    }


def _choose(condition: Array, one: Array, other: Array) -> Array:
    return other if one is other else array_namespace(other).where(condition, one, other)
