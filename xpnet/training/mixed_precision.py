"""Training in 16 bits where that is safe: forward and backward passes; parameters, statistics and the loss in float32.

float16 ends at 65504 and loses what is below 6e-8, where many gradients are. So the loss's gradient is multiplied by a
scale before the backward pass and the parameters' divided by it after. A step whose gradient is not finite is left
out and the scale halved; after 2000 good steps in a row it is doubled.

bfloat16 has the range of float32, with 8 bits of mantissa instead of 24, and needs no scale.

Source: Micikevicius et al., "Mixed precision training", ICLR 2018, section 3; the numbers are PyTorch's (GradScaler).
bfloat16: Kalamkar et al., "A study of BFLOAT16 for deep learning training", arXiv:1905.12322.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError
from xpnet.function import LossAndGradient
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.layers.containers import Wrapper, map_leaves
from xpnet.layout import map_tree
from xpnet.losses import Loss, LossForward
from xpnet.network import Network
from xpnet.optimizers.base import OptimizerState
from xpnet.shapes import Shape
from xpnet.training.rows import with_loss

FIRST_SCALE, GROWTH, BACKOFF, INTERVAL = 65536.0, 2.0, 0.5, 2000
LEAST_SCALE = 2.0**-16  # below it no gradient is left in float16 that a further halving would save
SCALE, GOOD_STEPS = "loss_scale", "good_steps"  # kept beside the optimizer's state


class MixedPrecision:
    """A network's forward and backward passes in a dtype of 16 bits, float16 or bfloat16.

    With float16 a loss scale follows what the gradients need.

    Raises InputError if the network's library does not have the dtype.
    """

    def __init__(self, network: Network, dtype: str = "float16") -> None:
        if not hasattr(network.backend.xp, dtype):
            raise InputError(
                f"Training: expected arrays of PyTorch or JAX for precision='{dtype}', got "
                f"{network.backend.describe()}. Use backend='torch', or precision='float16'."
            )
        self._network, self._dtype, self.has_scale = network, dtype, dtype == "float16"
        self._layer = map_leaves(self._safe, network.layer)

    def init(self, theta: Array) -> OptimizerState:
        """The scale and the number of good steps before the first one; nothing without a scale."""
        if not self.has_scale:
            return {}
        xp = array_namespace(theta)
        return {
            SCALE: xp.full((1,), FIRST_SCALE, dtype=theta.dtype, device=device(theta)),
            GOOD_STEPS: xp.zeros((1,), dtype=theta.dtype, device=device(theta)),
        }

    def narrowed(self, scale: Array | float = 1.0, loss: Loss | None = None) -> Network:
        """The network that computes in 16 bits, given θ and images in these, but keeps its state in float32.

        ``loss`` takes the place of its own.
        """
        network = with_loss(self._network, _ScaledLoss(loss or self._network.loss, scale, self._dtype))
        network.layer = self._layer
        return network

    def loss_and_gradient(
        self,
        theta: Array,
        state: State,
        scale: Array | float,
        x: Array,
        targets: Array,
        weights: Array | None,
        key: Array | None,
        loss: Loss | None = None,
    ) -> LossAndGradient:
        """The loss and, in θ's dtype and without the scale, its gradient; not finite where float16 has overflowed.

        ``loss`` takes the place of the network's.
        """
        network, theta_, x = self.narrowed(scale, loss), self.cast(theta), self.cast(x)
        result = network.unchecked_loss_and_gradient(theta_, state, x, targets, weights, key=key)
        gradient = array_namespace(theta).astype(result.gradient, theta.dtype)
        return result._replace(gradient=gradient / scale if self.has_scale else gradient)

    def cast(self, array: Array) -> Array:
        """The array in 16 bits."""
        return _in_dtype(array, self._dtype)

    def _safe(self, name: str, layer: Layer) -> Layer:
        """Normalisation computes in float32."""
        return _InFloat32(layer, self._dtype) if layer.in_float32 else layer

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


def _in_dtype(array: Array, dtype: str) -> Array:
    """The array in a dtype that the standard lacks, but libraries that are used for training have."""
    xp = array_namespace(array)
    return xp.astype(array, getattr(xp, dtype))


@dataclass(frozen=True)
class _InFloat32(Wrapper):
    """A layer that takes and gives 16 bits and computes in float32."""

    dtype: str

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
        return Forward(_in_dtype(y, self.dtype), cache, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        params = map_tree(_in_float32, params)
        dx, grads = self.inner.unchecked_backward(params, cache, _in_float32(dy), need_dx=need_dx)
        narrow = partial(_in_dtype, dtype=self.dtype)
        return Backward(None if dx is None else narrow(dx), map_tree(narrow, grads))


@dataclass(frozen=True, eq=False)
class _ScaledLoss:
    """A loss in float32 of logits in 16 bits, whose gradient is a multiple of the true one."""

    inner: Loss
    scale: Array | float
    dtype: str

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        return self.inner.forward(_in_float32(outputs), targets, weights)

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the logits, times the scale."""
        return _in_dtype(self.inner.backward(cache) * self.scale, self.dtype)


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
