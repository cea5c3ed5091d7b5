"""Random zeros while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.checks import is_finite
from xpnet.errors import InputError, short
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.random import random_mask
from xpnet.shapes import Shape


@dataclass(frozen=True)
class _Dropout(Layer):
    """A layer y = m * x / (1 - p) while training; a subclass says which values share a number of the mask m."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not (is_finite(self.p) and 0 <= self.p < 1):
            raise InputError(
                f"{type(self).__name__}: expected p, the probability of dropping, in [0, 1), got {short(self.p)}. "
                "Try 0.5."
            )

    @property
    def is_random(self) -> bool:
        return self.p > 0

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def mask_shape(self, shape: Shape) -> Shape:
        """Shape of the mask for a batch's: 1 along the axes that share a number."""
        raise NotImplementedError

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        if not train:
            return Forward(x, None, state)
        if not self.is_random:
            return Forward(x, {}, state)
        mask = random_mask(key, self.mask_shape(x.shape), self.p, x.dtype)
        return Forward(x * mask, {"mask": mask}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        return Backward(dy * cache["mask"] if self.is_random else dy, {})


@dataclass(frozen=True)
class Dropout(_Dropout):
    r"""Each value is 0 with probability p while training, and the others are scaled up so that the mean stays.

    The mask is a function of the key alone: the same key gives the same mask on every backend and in every dtype.

    Parameters
    ----------
    p
        The probability of dropping.

    Raises
    ------
    InputError
        Unless 0 <= p < 1, and if training without a key.

    Notes
    -----
    .. math:: y = \frac{m x}{1 - p}, \quad m = 0 \text{ with probability } p, \text{ else } 1

    Outside of training y = x. Backward, with g = dL/dy:

    .. math:: dx = \frac{m g}{1 - p}

    Shapes: any.

    References
    ----------
    Srivastava et al., JMLR 15, 2014; the scaling while training ("inverted") is that of PyTorch.
    """

    prefix: ClassVar[str] = "dropout"

    def mask_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class SpatialDropout(_Dropout):
    r"""Each channel of an example is 0 throughout with probability p while training, and the others are scaled up.

    Neighbouring pixels say nearly the same: where ``Dropout`` drops one, the others still tell it.

    Parameters
    ----------
    p
        The probability of dropping.

    Raises
    ------
    InputError
        As ``Dropout`` does.

    Notes
    -----
    .. math::

        y_{n \dots c} = \frac{m_{nc} \, x_{n \dots c}}{1 - p}, \quad m = 0 \text{ with probability } p, \text{ else } 1

    Outside of training y = x. Backward, with g = dL/dy:

    .. math:: dx_{n \dots c} = \frac{m_{nc} \, g_{n \dots c}}{1 - p}

    Shapes: x (N, ..., C) -> y (N, ..., C).

    References
    ----------
    Tompson et al., CVPR 2015, section 3.2.
    """

    prefix: ClassVar[str] = "spatial_dropout"

    def mask_shape(self, shape: Shape) -> Shape:
        return (shape[0], *(1,) * (len(shape) - 2), shape[-1])


@dataclass(frozen=True)
class StochasticDepth(_Dropout):
    r"""Each example is 0 throughout with probability p while training, and the others are scaled up.

    At the end of a residual branch it leaves the block out for some examples. The paper scales by 1 - p after training
    instead.

    Parameters
    ----------
    p
        The probability of dropping.

    Raises
    ------
    InputError
        As ``Dropout`` does.

    Notes
    -----
    .. math:: y_n = \frac{m_n x_n}{1 - p}, \quad m = 0 \text{ with probability } p, \text{ else } 1

    Outside of training y = x. Backward, with g = dL/dy:

    .. math:: dx_n = \frac{m_n g_n}{1 - p}

    Shapes: any.

    References
    ----------
    Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """

    prefix: ClassVar[str] = "stochastic_depth"

    def mask_shape(self, shape: Shape) -> Shape:
        return (shape[0], *(1,) * (len(shape) - 1))
