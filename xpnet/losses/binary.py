"""The loss for labels that are 0 or 1, on logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet import kernels
from xpnet.backend import Array, array_namespace, is_readable, to_numpy
from xpnet.errors import InputError
from xpnet.losses.base import (
    Cache,
    LossForward,
    Target,
    check_same_shape,
    one_column_less,
    output_factors,
    targets_like,
)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    r"""Mean negative log-probability of labels that are 0 or 1, from a logit for each: one label or several of K.

    Raises
    ------
    InputError
        If the shapes do not fit or, on the host, if targets are neither 0 nor 1.

    Notes
    -----
    .. math::

        p = \frac{1}{1 + e^{-z}}, \quad
        l_n = -\frac{1}{K} \sum_k t_{nk} \log p_{nk} + (1 - t_{nk}) \log(1 - p_{nk}), \quad
        L = \frac{\sum_n w_n l_n}{\sum_n w_n}

    .. math:: l_n = \frac{1}{K} \sum_k \max(z_{nk}, 0) - z_{nk} t_{nk} + \log(1 + e^{-|z_{nk}|})

    The second form is the one computed: it overflows for no z.

    Backward, which is (p - t) / K but does not round p to 1:

    .. math:: \frac{\partial l_n}{\partial z_{nk}} = \frac{(1 - t_{nk}) \, p_{nk} - t_{nk} (1 - p_{nk})}{K}

    Shapes: logits (N,), (N, 1) or (N, K), targets of the same shape, weights (N,) -> loss ().

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning", 2006, sections 4.3.2 and 5.2.
    """

    target: ClassVar[Target] = "binary"

    def check(self, outputs: Array, targets: Array) -> None:
        """Raise InputError unless targets are 0 or 1, of any dtype of real numbers, in the shape of the outputs."""
        check_same_shape("BinaryCrossEntropy", outputs, targets)
        xp = array_namespace(targets)
        if not xp.isdtype(targets.dtype, ("bool", "integral", "real floating")):
            raise InputError(
                f"BinaryCrossEntropy: expected targets of 0 and 1, got dtype {targets.dtype}. Convert them to bool."
            )
        if is_readable(targets) and not xp.isdtype(targets.dtype, "bool"):
            values = to_numpy(targets)
            if not ((values == 0) | (values == 1)).all():
                raise InputError(
                    f"BinaryCrossEntropy: expected targets of 0 and 1, got values from {values.min()} to "
                    f"{values.max()}. Use SoftmaxCrossEntropy for class numbers, MeanSquaredError for real targets."
                )

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        self.check(outputs, targets)
        xp = array_namespace(outputs)
        t = targets_like(outputs, targets)
        losses = kernels.rectify(outputs) - outputs * t + xp.log1p(xp.exp(-xp.abs(outputs)))
        factors = output_factors(outputs, weights)
        return LossForward(xp.sum(factors * losses), {"outputs": outputs, "t": t, "factors": factors})

    def backward(self, cache: Cache) -> Array:
        """Gradient with respect to the logits."""
        p, q = _sigmoids(cache["outputs"])
        return cache["factors"] * ((1 - cache["t"]) * p - cache["t"] * q)

    def predictions(self, outputs: Array) -> Array:
        """Whether each label is the more probable one: outputs > 0, (N,) or (N, K) of booleans."""
        return one_column_less(outputs) > 0

    def probabilities(self, outputs: Array) -> Array:
        """Probability that each label is 1, sigmoid(outputs): (N,) or (N, K)."""
        return _sigmoids(one_column_less(outputs))[0]


def _sigmoids(z: Array) -> tuple[Array, Array]:
    """Probabilities p = 1 / (1 + exp(-z)) and 1 - p = 1 / (1 + exp(z)), both to full relative precision."""
    xp = array_namespace(z)
    small = xp.exp(-xp.abs(z))
    small, large = small / (1 + small), 1 / (1 + small)
    return xp.where(z > 0, large, small), xp.where(z > 0, small, large)
