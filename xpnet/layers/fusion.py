"""Neighbouring layers that a container computes as one: the same values and gradients in fewer steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xpnet import kernels
from xpnet.backend import Array
from xpnet.layers.activations import ReLU
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Wrapper
from xpnet.layers.normalization import BatchNorm
from xpnet.layers.pooling import MaxPool2D


class Step(NamedTuple):
    """What a container computes at once: its layer with this position and name, and a neighbour that joins in."""

    position: int
    name: str
    layer: Layer


def steps(layers: Sequence[tuple[str, Layer]]) -> list[Step]:
    """Layers in order, with each ReLU taken together with a MaxPool2D after it, or else a BatchNorm before it."""
    found: list[Step] = []
    kinds = [*(type(layer) for _, layer in layers), None]
    for position, (name, layer) in enumerate(layers):
        before, after = found[-1].layer if found else None, kinds[position + 1]
        if type(before) is BatchNorm and type(layer) is ReLU and after is not MaxPool2D:
            found[-1] = found[-1]._replace(layer=_RectifiedBatchNorm(before))
        elif type(before) is ReLU and type(layer) is MaxPool2D:
            found[-1] = Step(position, name, _RectifiedMaxPool2D(layer))
        else:
            found.append(Step(position, name, layer))
    return found


@dataclass(frozen=True)
class _RectifiedMaxPool2D(Wrapper):
    """ReLU and max-pool, in the order that leaves the ReLU fewer elements.

        y = pool(max(x, 0)) = max(pool(x), 0)

    Backward: dL/dy where y > 0, else 0, goes to the winner of each window. That is what the two layers in their own
    order give: where the maximum is above 0 the ReLU has not changed which of the values comes first, and elsewhere
    it stops the gradient.
    """

    inner: MaxPool2D

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y, pooled, _ = self.inner.forward(params, state, x, train=train)
        y = kernels.rectify(y)
        return Forward(y, {"pool": pooled, "y": y} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        cache = self.inner.require_cache(cache)
        self.inner.check_gradient(dy, cache["y"].shape, like=cache["y"])
        dy = kernels.rectify_gradient(dy, cache["y"] > 0)
        return self.inner.backward(params, cache["pool"], dy, need_dx=need_dx)


@dataclass(frozen=True)
class _RectifiedBatchNorm(Wrapper):
    """Batch normalisation and ReLU: max(norm(x), 0), which a kernel may compute in one go."""

    inner: BatchNorm

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return self.inner.normalized(params, state, x, train=train, relu=True)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        return self.inner.pull_back(params, cache, dy, need_dx=need_dx, relu=True)
