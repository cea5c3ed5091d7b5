"""Activations with values in a bounded range, all but softmax element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.shapes import Shape


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """A layer y = f(x) whose derivative follows from y alone, so that y is all it keeps."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = self.apply(x)
        return Forward(y, {"y": y} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(self.input_gradient(cache["y"], dy) if need_dx else None, {})

    def apply(self, x: Array) -> Array:
        """The output y."""
        raise NotImplementedError

    def input_gradient(self, y: Array, dy: Array) -> Array:
        """The input gradient from the output and its gradient."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sigmoid(ActivationLayer):
    """Logistic function.

        y = 1 / (1 + exp(-x)) = exp(min(x, 0)) / (1 + exp(-|x|))

    The second form is the one computed: it overflows for no x, and keeps its digits where y comes close to 0.

    Backward, with g = dL/dy:  dx = g * y * (1 - y).

    Shapes: any.  Source: Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    prefix: ClassVar[str] = "sigmoid"

    def apply(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.exp(-kernels.rectify(-x)) / (1 + xp.exp(-xp.abs(x)))

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * y * (1 - y)


@dataclass(frozen=True)
class HardSigmoid(ActivationLayer):
    """Logistic function in three straight pieces.

        y = min(max(x / 6 + 1/2, 0), 1)

    Backward, with g = dL/dy:  dx = g / 6 where 0 < y < 1, else 0.

    Shapes: any.  Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2.
    """

    prefix: ClassVar[str] = "hard_sigmoid"

    def apply(self, x: Array) -> Array:
        return 1 - kernels.rectify(1 - kernels.rectify(x / 6 + 0.5))

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * array_namespace(dy).astype((y > 0) & (y < 1), dy.dtype) / 6


@dataclass(frozen=True)
class Tanh(ActivationLayer):
    """Hyperbolic tangent.

        y = tanh(x)

    Backward, with g = dL/dy:  dx = g * (1 - y^2).

    Shapes: any.  Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.4.
    """

    prefix: ClassVar[str] = "tanh"

    def apply(self, x: Array) -> Array:
        return array_namespace(x).tanh(x)

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * (1 - y * y)


@dataclass(frozen=True)
class Softmax(ActivationLayer):
    """Probabilities over the last axis.

        y_k = exp(x_k - max x) / sum_j exp(x_j - max x)

    Backward, with g = dL/dy:  dx = y * (g - sum_k g_k y_k).

    For training a classifier give logits to ``SoftmaxCrossEntropy`` instead, which is exact where this rounds to 0.

    Shapes: x (..., K) -> y (..., K).  Source: Bridle, 1990.
    """

    prefix: ClassVar[str] = "softmax"

    def apply(self, x: Array) -> Array:
        xp = array_namespace(x)
        exponentials = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return y * (dy - array_namespace(dy).sum(dy * y, axis=-1, keepdims=True))
