"""Losses for real targets: means over the outputs of a function of their distance from the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array, array_namespace, has_kind
from xpnet.checks import check_above_zero
from xpnet.errors import InputError
from xpnet.kernels.cross_entropy import one_hot
from xpnet.losses.base import (
    Cache,
    LossForward,
    Target,
    check_classes,
    check_same_shape,
    one_column_less,
    output_factors,
    targets_like,
)


class _Distance:
    """A loss L = sum_n w_n l_n / sum_n w_n with l_n = 1/K sum_k f(y[n,k] - t[n,k]); a subclass gives f and f'."""

    target: ClassVar[Target] = "real"

    def distance(self, d: Array) -> Array:
        """f(d) for each difference d of output and target."""
        raise NotImplementedError

    def slope(self, d: Array) -> Array:
        """f'(d)."""
        raise NotImplementedError

    def check(self, outputs: Array, targets: Array) -> None:
        """Raise InputError unless targets are real numbers in the shape of the outputs."""
        where = type(self).__name__
        check_same_shape(where, outputs, targets)
        if not has_kind(targets, ("integral", "real floating")):
            raise InputError(
                f"{where}: expected targets to be real numbers, got {targets.dtype}. "
                "Convert them to float32, or use BinaryCrossEntropy for booleans."
            )

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        self.check(outputs, targets)
        d = outputs - self.expected(outputs, targets)
        factors = output_factors(outputs, weights)
        return LossForward(array_namespace(d).sum(factors * self.distance(d)), {"d": d, "factors": factors})

    def backward(self, cache: Cache) -> Array:
        """Gradient with respect to the outputs."""
        return cache["factors"] * self.slope(cache["d"])

    def expected(self, outputs: Array, targets: Array) -> Array:
        """What the outputs should be."""
        return targets_like(outputs, targets)

    def predictions(self, outputs: Array) -> Array:
        """The outputs; (N, 1) as (N,)."""
        return one_column_less(outputs)

    def probabilities(self, outputs: Array) -> Array:
        """Raise InputError: real targets have none."""
        raise InputError(
            f"{type(self).__name__}: predict_proba is only available for classifiers trained with a cross-entropy. "
            "Use predict, or train with such a loss."
        )


@dataclass(frozen=True)
class MeanSquaredError(_Distance):
    r"""Mean squared distance of outputs from targets.

    Class numbers stand for targets t of 1 (their class) and 0.

    Raises
    ------
    InputError
        If the shapes do not fit, or the targets are not real numbers or, on the host, class numbers out of range.

    Notes
    -----
    .. math:: l_n = \frac{1}{K} \sum_k (y_{nk} - t_{nk})^2, \quad L = \frac{\sum_n w_n l_n}{\sum_n w_n}

    Backward:

    .. math:: \frac{\partial l_n}{\partial y_{nk}} = \frac{2}{K} (y_{nk} - t_{nk})

    Shapes: outputs (N,), (N, 1) or (N, K), targets of the same shape, weights (N,) -> loss (); or outputs (N, K > 1)
    and targets (N,) of integers in [0, K).

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning", 2006, section 5.2.
    """

    def check(self, outputs: Array, targets: Array) -> None:
        """Raise InputError unless targets are real numbers in the shape of the outputs, or class numbers."""
        if _are_classes(outputs, targets):
            check_classes("MeanSquaredError", outputs, targets)
        else:
            super().check(outputs, targets)

    def expected(self, outputs: Array, targets: Array) -> Array:
        """What the outputs should be."""
        if _are_classes(outputs, targets):
            return one_hot(targets, outputs.shape[1], outputs.dtype)
        return super().expected(outputs, targets)

    def distance(self, d: Array) -> Array:
        """f(d) = d^2."""
        return d * d

    def slope(self, d: Array) -> Array:
        """f'(d) = 2 d."""
        return 2 * d


@dataclass(frozen=True)
class MeanAbsoluteError(_Distance):
    r"""Mean absolute distance of outputs from targets, which outliers pull at no more than others.

    Raises
    ------
    InputError
        If the shapes do not fit or the targets are not real numbers.

    Notes
    -----
    .. math:: l_n = \frac{1}{K} \sum_k |y_{nk} - t_{nk}|, \quad L = \frac{\sum_n w_n l_n}{\sum_n w_n}

    Backward, 0 where they are equal:

    .. math:: \frac{\partial l_n}{\partial y_{nk}} = \frac{1}{K} \, \mathrm{sign}(y_{nk} - t_{nk})

    Shapes: outputs (N,), (N, 1) or (N, K), targets of the same shape, weights (N,) -> loss ().

    References
    ----------
    Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition, 2009, section 10.6.
    """

    def distance(self, d: Array) -> Array:
        """f(d) = |d|."""
        return array_namespace(d).abs(d)

    def slope(self, d: Array) -> Array:
        """f'(d) = sign(d)."""
        return _sign(d)


@dataclass(frozen=True)
class Huber(_Distance):
    r"""Half the squared distance up to δ, and linear beyond.

    Parameters
    ----------
    delta
        δ.

    Raises
    ------
    InputError
        Unless δ is finite and above 0, if the shapes do not fit, or if the targets are not real numbers.

    Notes
    -----
    .. math:: f(d) = \frac{d^2}{2} \text{ where } |d| \le \delta, \text{ else } \delta \, (|d| - \delta/2)

    .. math:: l_n = \frac{1}{K} \sum_k f(y_{nk} - t_{nk}), \quad L = \frac{\sum_n w_n l_n}{\sum_n w_n}

    Computed with c = min(abs(d), δ), as f(d) = c (abs(d) - c/2). Backward, with d = y - t:

    .. math:: \frac{\partial l_n}{\partial y_{nk}} = \frac{1}{K} \, \mathrm{sign}(d) \min(|d|, \delta)

    Shapes: outputs (N,), (N, 1) or (N, K), targets of the same shape, weights (N,) -> loss ().

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1), 1964.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_above_zero("Huber", "delta", self.delta, "Try 1.0.")

    def distance(self, d: Array) -> Array:
        """f(d) = c (|d| - c/2)."""
        size, capped = self._sizes(d)
        return capped * (size - capped / 2)

    def slope(self, d: Array) -> Array:
        """f'(d) = sign(d) c."""
        return _sign(d) * self._sizes(d)[1]

    def _sizes(self, d: Array) -> tuple[Array, Array]:
        """|d| and c = min(|d|, δ)."""
        xp = array_namespace(d)
        size = xp.abs(d)
        return size, xp.where(size > self.delta, xp.full_like(size, self.delta), size)


def _are_classes(outputs: Array, targets: Array) -> bool:
    is_vector = getattr(outputs, "ndim", 0) == 2 and outputs.shape[1] > 1 and getattr(targets, "ndim", 0) == 1
    return is_vector and has_kind(targets, "integral")


def _sign(d: Array) -> Array:
    """-1, 0 or 1, and NaN of NaN. On CuPy the ``sign`` of array-api-compat reads a mask, for which the host waits."""
    xp = array_namespace(d)
    return xp.where(d != d, d, xp.astype(d > 0, d.dtype) - xp.astype(d < 0, d.dtype))
