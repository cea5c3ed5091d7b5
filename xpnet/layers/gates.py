"""Non-linearities that let x through by a gate between 0 and 1, which x itself opens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import pick
from xpnet.layers.activations import HardSigmoid, Sigmoid
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.shapes import Shape


@dataclass(frozen=True)
class _Gate(Layer):
    """A layer y = x G(x). It keeps dy/dx = G(x) + x G'(x), which takes no more memory than x."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        if not train:
            return Forward(kernels.elementwise(x, lambda x: (x * self.gate(x),))[0], None, state)
        y, slope = kernels.elementwise(x, self._with_slope)
        return Forward(y, {"slope": slope}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy * cache["slope"] if need_dx else None, {})

    def _with_slope(self, x: Array) -> tuple[Array, Array]:
        gate = self.gate(x)
        return x * gate, gate + x * self.gate_slope(x, gate)

    def gate(self, x: Array) -> Array:
        """G(x)."""
        raise NotImplementedError

    def gate_slope(self, x: Array, gate: Array) -> Array:
        """G'(x), from x and G(x)."""
        raise NotImplementedError


@dataclass(frozen=True)
class SiLU(_Gate):
    r"""Sigmoid linear unit, also called swish.

    Notes
    -----
    .. math:: y = x \, \sigma(x), \quad \sigma(x) = \frac{1}{1 + e^{-x}}

    Backward, with g = dL/dy:

    .. math:: dx = g \, (\sigma + x \sigma (1 - \sigma))

    Shapes: any.

    References
    ----------
    Elfwing, Uchibe and Doya, Neural Networks 107, 2018; Ramachandran, Zoph and Le, arXiv:1710.05941.
    """

    prefix: ClassVar[str] = "silu"

    def gate(self, x: Array) -> Array:
        return Sigmoid().apply(x)

    def gate_slope(self, x: Array, gate: Array) -> Array:
        return gate * (1 - gate)


@dataclass(frozen=True)
class HardSwish(_Gate):
    r"""SiLU with a sigmoid in three straight pieces.

    Notes
    -----
    .. math:: y = x \, h(x), \quad h(x) = \min(\max(x/6 + 1/2, 0), 1)

    Backward, with g = dL/dy:

    .. math:: dx = g \, (h + x/6) \text{ where } 0 < h < 1, \text{ else } g \, h

    Shapes: any.

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2.
    """

    prefix: ClassVar[str] = "hard_swish"

    def gate(self, x: Array) -> Array:
        return HardSigmoid().apply(x)

    def gate_slope(self, x: Array, gate: Array) -> Array:
        return HardSigmoid().input_gradient(gate, array_namespace(x).ones_like(x))


@dataclass(frozen=True)
class GELU(_Gate):
    r"""Gaussian error linear unit: each value times the probability that a standard normal number is smaller.

    Parameters
    ----------
    approximate
        "none" computes Φ to the precision of the dtype (``normal_cdf``: the standard has no erf); "tanh" is up to 5e-4
        off.

    Raises
    ------
    InputError
        If ``approximate`` is neither "none" nor "tanh".

    Notes
    -----
    .. math:: y = x \, \Phi(x), \quad \Phi(x) = \frac{1}{2} (1 + \mathrm{erf}(x / \sqrt 2))

    .. math::

        \text{tanh:} \quad y = x \, T(x), \quad T(x) = \frac{1}{2} (1 + \tanh u), \quad
        u = \sqrt{2/\pi} \, (x + 0.044715 \, x^3)

    Backward, with g = dL/dy:

    .. math:: dx = g \, (\Phi + x \varphi), \quad \varphi(x) = \frac{1}{\sqrt{2\pi}} e^{-x^2/2}

    .. math:: \text{tanh:} \quad dx = g \, (T + 2 x T (1 - T) \, u'), \quad u' = \sqrt{2/\pi} \, (1 + 0.134145 \, x^2)

    Shapes: any.

    References
    ----------
    Hendrycks and Gimpel, arXiv:1606.08415.
    """

    approximate: Literal["none", "tanh"] = "none"
    prefix: ClassVar[str] = "gelu"

    def __post_init__(self) -> None:
        pick("GELU, approximate", dict.fromkeys(("none", "tanh")), self.approximate)

    def gate(self, x: Array) -> Array:
        if self.approximate == "none":
            return normal_cdf(x)
        return Sigmoid().apply(2 * _ROOT * (x + 0.044715 * x * x * x))

    def gate_slope(self, x: Array, gate: Array) -> Array:
        if self.approximate == "none":
            return array_namespace(x).exp(-0.5 * x * x) * (0.5 * _ROOT)
        return gate * (1 - gate) * (2 * _ROOT * (1 + 3 * 0.044715 * x * x))


_ROOT = math.sqrt(2 / math.pi)


def normal_cdf(x: Array) -> Array:
    r"""Probability Φ(x) that a standard normal number is below x.

    Notes
    -----
    .. math::

        \Phi(-z) = e^{-z^2/2} \, \frac{P((z - 4) / (z + 4))}{1 + z} \text{ for } z \ge 0, \quad \Phi(z) = 1 - \Phi(-z)

    P interpolates the rest at Chebyshev points: of degree 10 for float32 and shorter, 23 for float64. The error is at
    most 1.1 times the dtype's eps.

    References
    ----------
    The form is that of Shepherd and Laframboise, Mathematics of Computation 36, 1981.
    """
    xp = array_namespace(x)
    z = xp.abs(x)
    t = (z - 4) / (z + 4)
    below = xp.exp(-0.5 * z * z) * _polynomial(t, _SINGLE if xp.finfo(x.dtype).eps > 1e-8 else _DOUBLE) / (1 + z)
    return below + xp.astype(x > 0, x.dtype) * (1 - 2 * below)  # what ``where`` gives, which NumPy takes longest for


def _polynomial(t: Array, coefficients: tuple[float, ...]) -> Any:
    """Sum of c_k t^k, by Horner's rule."""
    *others, last = coefficients
    total = last
    for coefficient in reversed(others):
        total = total * t + coefficient
    return total


# Of P, from powers of 0 on, computed with 60 digits.
_SINGLE = (
    *(0.4720532026941583, -0.096703335413774, 0.013999913667926737, 0.028597467869693007, -0.032201162891248414),
    *(0.01795281747500939, -0.004987714249865996, -0.0003258309986512783, 0.0006649886920591677),
    *(-4.999051445334621e-05, -5.8091235258713935e-05),
)
_DOUBLE = (
    *(0.47205320650984467, -0.09670347732652607, 0.013999634724430469, 0.02860036405357749, -0.03219783742831453),
    *(0.01793609747886859, -0.0050023785870514665, -0.00028562308680939413, 0.0006948970692570495),
    *(-9.443033944152223e-05, -8.785300442645791e-05, 2.1250446856208376e-05, 1.3626315192600401e-05),
    *(-3.433372216853275e-06, -2.6118464340168558e-06, 4.0671730125154447e-07, 5.507747965364098e-07),
    *(-1.237153366992197e-09, -1.1022354013739079e-07, -1.7932121916642413e-08, 1.7442583764419795e-08),
    *(5.474708632048689e-09, -1.5456221598143852e-09, -6.763267210562454e-10),
)
