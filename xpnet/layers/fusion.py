"""Neighbouring layers that a container computes as one: the same values and gradients in fewer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

from xpnet import kernels
from xpnet.backend import Array
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, shape_holder
from xpnet.layers.branches import Residual
from xpnet.layers.conv import Conv2D
from xpnet.layers.normalization import BatchNorm
from xpnet.layers.pooling import MaxPool2D
from xpnet.layers.rectifiers import ReLU


class Step(NamedTuple):
    """What a container computes at once: its layer with this position and name, and a neighbour that joins in.

    ``norm`` is the name of one that has parameters and state of its own; the layer then takes both layers' trees.
    """

    position: int
    name: str
    layer: Layer
    norm: str | None = None

    def own(self, tree: Params) -> Params:
        """What the layer takes of a tree of parameters or state."""
        return tree[self.name] if self.norm is None else {"conv": tree[self.name], "norm": tree[self.norm]}


def steps(layers: Sequence[tuple[str, Layer]]) -> list[Step]:
    """Layers in order, with each ReLU taken together with a MaxPool2D after it, or else what it may join before it."""
    found: list[Step] = []
    kinds = [*(type(layer) for _, layer in layers), None]
    for position, (name, layer) in enumerate(layers):
        before, after = found[-1].layer if found else None, kinds[position + 1]
        is_free = type(layer) is ReLU and after is not MaxPool2D
        joined = _RECTIFIED.get(type(before)) if before and is_free else None
        if before and joined:
            found[-1] = found[-1]._replace(layer=_with_relu(joined, before))
        elif type(before) is ReLU and type(layer) is MaxPool2D:
            found[-1] = Step(position, name, _with_relu(_RectifiedMaxPool2D, layer))
        else:
            found.append(Step(position, name, layer))
    return found


def prediction_steps(layers: Sequence[tuple[str, Layer]]) -> list[Step]:
    """The same with each Conv2D taken together with a BatchNorm after it, and a ReLU after either."""
    found: list[Step] = []
    for step in steps(layers):
        before = found[-1] if found else None
        if before and type(before.layer) is Conv2D and isinstance(step.layer, BatchNorm):
            found[-1] = before._replace(layer=_NormalizedConv2D(before.layer, step.layer), norm=step.name)
        elif before and type(before.layer) is Conv2D and type(step.layer) is ReLU:
            found[-1] = before._replace(layer=_with_relu(_RectifiedConv2D, before.layer))
        else:
            found.append(step)
    return found


@dataclass(frozen=True)
class _NormalizedConv2D(Layer):
    """Convolution, batch normalisation by the running statistics, and the latter's ReLU, if any: for prediction.

    Where no kernel computes them in one go, they are computed one after the other.
    """

    conv: Conv2D
    norm: BatchNorm

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        conv, norm = self.conv, self.norm
        own, normalization = params["conv"], kernels.Normalization(params["norm"], state["norm"], norm.eps)
        y = kernels.conv2d_block(
            x, own["weight"], own.get("bias"), conv.window, conv.groups, normalization, relu=norm.relu
        )
        if y is None:
            y = conv.unchecked_forward(own, state["conv"], x).y
            y = norm.unchecked_forward(params["norm"], state["norm"], y).y
        return Forward(y, None, state["conv"])


@dataclass(frozen=True)
class _RectifiedConv2D(Conv2D):
    """Convolution and ReLU: for prediction."""

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.conv2d_block(x, params["weight"], params.get("bias"), self.window, self.groups, None, relu=True)
        if y is None:
            y = kernels.rectify(Conv2D.unchecked_forward(self, params, state, x).y)
        return Forward(y, None, state)


@dataclass(frozen=True)
class _RectifiedMaxPool2D(MaxPool2D):
    """ReLU and max-pool, in the order that leaves the ReLU fewer elements.

        y = pool(max(x, 0)) = max(pool(x), 0)

    Backward: dL/dy where y > 0, else 0, goes to the winner of each window. That is what the two layers in their own
    order give: where the maximum is above 0 the ReLU has not changed which of the values comes first, and elsewhere
    it stops the gradient.
    """

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        window = self.window_over(x.shape[1:3])
        if not train:
            return Forward(kernels.rectify(kernels.max_pool2d(x, window)), None, state)
        y, saved = kernels.rectified_max_pool2d(x, window)
        return Forward(y, {"saved": saved, "x_shape": shape_holder(x)}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        image_size = cache["x_shape"].shape[1:3]
        window = self.window_over(image_size)
        return Backward(kernels.rectified_max_pool2d_input_gradient(dy, cache["saved"], window, image_size), {})


@dataclass(frozen=True)
class _RectifiedBatchNorm(BatchNorm):
    """Batch normalisation and ReLU: max(norm(x), 0), which a kernel may compute in one go."""

    relu: ClassVar[bool] = True


@dataclass(frozen=True)
class _RectifiedResidual(Residual):
    """Sum of two branches and ReLU: y = max(branch(x) + shortcut(x), 0).

    Backward: both get dL/dy where y > 0, else 0.
    """

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        y = kernels.rectified_sum(outputs["branch"], outputs.get("shortcut", x))
        return y, {"y": y}

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        return super().part(kernels.rectify_gradient(dy, joined["y"]), joined)


_RECTIFIED: Mapping[type[Layer], type[Layer]] = {BatchNorm: _RectifiedBatchNorm, Residual: _RectifiedResidual}


def _with_relu(kind: type[Layer], layer: Layer) -> Layer:
    """The layer's settings as those of its kind with a ReLU."""
    return kind(**{field.name: getattr(layer, field.name) for field in fields(layer)})
