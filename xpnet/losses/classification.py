"""Losses for classes, on logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_at_least_zero
from xpnet.errors import InputError
from xpnet.kernels.cross_entropy import one_hot
from xpnet.layers.base import shape_holder
from xpnet.losses.base import (
    Cache,
    LossForward,
    Target,
    check_class_weights,
    check_classes,
    check_weights,
    checked_class_weights,
    example_factors,
)


class _Softmax:
    """What the losses of a softmax have in common; a subclass has formulas for rows of logits (N, K).

    Of images (N, H, W, K), with a class for each pixel, every pixel is a row, with the weight of its image.
    """

    class_weights: tuple[float, ...] | None
    target: ClassVar[Target] = "classes"

    def check(self, outputs: Array, targets: Array) -> None:
        """Raise InputError unless outputs are (N, ..., K), targets class numbers (N, ...) and class weights K."""
        where = type(self).__name__
        check_classes(where, outputs, targets)
        check_class_weights(where, self.class_weights, outputs)

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        self.check(outputs, targets)
        if outputs.ndim == 2:
            return self.rows_forward(outputs, targets, weights)
        xp, classes = array_namespace(outputs), outputs.shape[-1]
        if weights is not None:
            check_weights(outputs, weights)
            column = xp.reshape(weights, (-1, *(1,) * (targets.ndim - 1)))
            weights = xp.reshape(xp.broadcast_to(column, targets.shape), (-1,))
        rows, labels = xp.reshape(outputs, (-1, classes)), xp.reshape(targets, (-1,))
        loss, cache = self.rows_forward(rows, labels, weights)
        return LossForward(loss, {**cache, "outputs_shape": shape_holder(outputs)})

    def backward(self, cache: Cache) -> Array:
        """Gradient with respect to the logits."""
        gradient = self.rows_gradient(cache)
        if "outputs_shape" not in cache:
            return gradient
        *axes, classes = cache["outputs_shape"].shape[1:]
        return array_namespace(gradient).reshape(gradient, (-1, *axes, classes))

    def rows_forward(self, outputs: Array, targets: Array, weights: Array | None) -> LossForward:
        """``forward`` for logits (N, K) that were checked."""
        raise NotImplementedError

    def rows_gradient(self, cache: Cache) -> Array:
        """Gradient with respect to the logits (N, K)."""
        raise NotImplementedError

    def predictions(self, outputs: Array) -> Array:
        """The class with the largest logit, the first of several: (N, ..., K) -> (N, ...)."""
        return array_namespace(outputs).argmax(outputs, axis=-1)

    def probabilities(self, outputs: Array) -> Array:
        """softmax(outputs): (N, ..., K) -> (N, ..., K)."""
        return _log_softmax(outputs)[1]


@dataclass(frozen=True)
class SoftmaxCrossEntropy(_Softmax):
    r"""Mean negative log-probability of the true classes, from logits.

    Parameters
    ----------
    label_smoothing
        s, which moves the targets t = 1 for the true class and 0 for the others to (1 - s)·t + s/K.
    class_weights
        c of each class, all 1 unless given.

    Raises
    ------
    InputError
        Unless 0 <= label_smoothing < 1 and class weights are at least 0, if the shapes do not fit, or if the targets
        are not integers. Targets out of range are refused where reading them makes no device wait: on the host, outside
        of a trace.

    Notes
    -----
    With targets q[n,k] = c[k] t[n,k], true classes t_n, and weights v of the examples, all 1 unless given:

    .. math::

        p_n = \mathrm{softmax}(z_n), \quad l_n = -\sum_k q_{nk} \log p_{nk}, \quad
        L = \frac{\sum_n v_n l_n}{\sum_n v_n c_{t_n}}

    .. math:: \log p_{nk} = z_{nk} - m_n - \log \sum_j e^{z_{nj} - m_n}, \quad m_n = \max_k z_{nk}

    The shift by the maximum keeps every exponent at or below 0, so logits whose differences are finite give a finite
    loss.

    Backward, which is (p - q) / N without weights:

    .. math:: \frac{\partial L}{\partial z_{nk}} = \frac{v_n (p_{nk} \sum_j q_{nj} - q_{nk})}{\sum_m v_m c_{t_m}}

    Shapes: logits (N, K), targets (N,) of integers in [0, K), weights (N,) -> loss (); or logits (N, H, W, K) and
    targets (N, H, W), of which every pixel counts as an example with the weight of its image.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning", 2016, section 6.2.2.3; label smoothing: Szegedy et al., CVPR
    2016, section 7; both with class weights: PyTorch's ``CrossEntropyLoss``.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weights", checked_class_weights("SoftmaxCrossEntropy", self.class_weights))
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"SoftmaxCrossEntropy: expected label_smoothing in [0, 1), got {self.label_smoothing}. Try 0.1."
            )

    def rows_forward(self, outputs: Array, targets: Array, weights: Array | None) -> LossForward:
        """``forward`` for logits (N, K) that were checked."""
        if weights is None and self.class_weights is None:
            loss, gradient = kernels.softmax_cross_entropy(outputs, targets, self.label_smoothing)
            return LossForward(loss, {"gradient": gradient})
        xp, classes = array_namespace(outputs), outputs.shape[1]
        log_p, p = _log_softmax(outputs)
        t = one_hot(targets, classes, outputs.dtype)
        q = (1 - self.label_smoothing) * t + self.label_smoothing / classes
        class_weights = None
        if self.class_weights is not None:
            per_class = kernels.vector(self.class_weights, outputs)
            q, class_weights = q * per_class, xp.sum(t * per_class, axis=1)
        factors = example_factors(outputs, weights, class_weights)
        loss = -xp.sum(factors * xp.sum(q * log_p, axis=1))
        return LossForward(loss, {"gradient": factors[:, None] * (p * xp.sum(q, axis=1, keepdims=True) - q)})

    def rows_gradient(self, cache: Cache) -> Array:
        """Gradient with respect to the logits, which forward has from the same exponentials."""
        return cache["gradient"]


@dataclass(frozen=True)
class Focal(_Softmax):
    r"""Cross-entropy of a softmax in which examples count less, the better they are classified.

    With γ = 0 this is ``SoftmaxCrossEntropy``.

    Parameters
    ----------
    gamma
        γ.
    class_weights
        c of each class, all 1 unless given.

    Raises
    ------
    InputError
        Unless γ and the class weights are finite and at least 0, and as ``SoftmaxCrossEntropy`` does.

    Notes
    -----
    With the weights v of the examples, all 1 unless given, and p the probability of the true class t_n:

    .. math::

        p = \mathrm{softmax}(z_n)_{t_n}, \quad l_n = -(1 - p)^\gamma \log p, \quad
        L = \frac{\sum_n v_n c_{t_n} l_n}{\sum_n v_n c_{t_n}}

    Backward, with all probabilities p_k, and t_k 1 for the true class and 0 for the others:

    .. math::

        \frac{\partial l_n}{\partial z_k} = e^\gamma \left(1 - \frac{\gamma p \log p}{e}\right) (p_k - t_k), \quad
        e = 1 - p

    Near p = 1, e is computed as the sum of the other probabilities, log p as log1p(-e), and p_k - t_k of the true class
    as -e. The fraction log(p) / e tends to -1 there; γ below 1 thus gives no infinite factor.

    Shapes: those of ``SoftmaxCrossEntropy``.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017, section 3 (there with a sigmoid).
    """

    gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weights", checked_class_weights("Focal", self.class_weights))
        check_at_least_zero("Focal", "gamma", self.gamma)

    def rows_forward(self, outputs: Array, targets: Array, weights: Array | None) -> LossForward:
        """``forward`` for logits (N, K) that were checked."""
        xp = array_namespace(outputs)
        log_probabilities, probabilities = _log_softmax(outputs)
        t = one_hot(targets, outputs.shape[1], outputs.dtype)
        others = probabilities * (1 - t)
        e, p = xp.sum(others, axis=1), xp.sum(probabilities * t, axis=1)
        is_likely = e < 0.5
        log_p = xp.sum(log_probabilities * t, axis=1)
        log_p = xp.where(is_likely, xp.log1p(-xp.where(is_likely, e, xp.zeros_like(e))), log_p)
        if self.class_weights is None:
            factors = example_factors(outputs, weights)
        else:
            class_weights = xp.sum(t * kernels.vector(self.class_weights, outputs), axis=1)
            factors = class_weights * example_factors(outputs, weights, class_weights)
        modulation = factors * e**self.gamma
        is_certain = e == 0
        ratio = xp.where(is_certain, -xp.ones_like(e), log_p / xp.where(is_certain, xp.ones_like(e), e))
        cache = {"others": others, "e": e, "t": t, "slopes": modulation * (1 - self.gamma * p * ratio)}
        return LossForward(-xp.sum(modulation * log_p), cache)

    def rows_gradient(self, cache: Cache) -> Array:
        """Gradient with respect to the logits (N, K)."""
        return cache["slopes"][:, None] * (cache["others"] - cache["e"][:, None] * cache["t"])


def _log_softmax(logits: Array) -> tuple[Array, Array]:
    """Logarithms of the softmax over the last axis, and the softmax."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    exponentials = xp.exp(shifted)
    totals = xp.sum(exponentials, axis=-1, keepdims=True)
    return shifted - xp.log(totals), exponentials / totals
