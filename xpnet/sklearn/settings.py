"""The settings of the estimators, and the layers, optimizer and schedule that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from xpnet.errors import InputError, short
from xpnet.initializers import VarianceScaling
from xpnet.layers import BatchNorm, Dense, Dropout, Flatten, Layer, ReLU, Sigmoid, Tanh
from xpnet.optimizers import SGD, Adam, Momentum, Optimizer
from xpnet.schedules import Constant, Schedule
from xpnet.shapes import Shape

_ACTIVATIONS: dict[str, type[Layer] | None] = {"identity": None, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}
_LEAST_RATE = 1e-6  # at which an adaptive learning rate has come to its end


@dataclass(eq=False, repr=False)  # writes the constructor, from which scikit-learn reads the settings
class Settings(BaseEstimator):
    """What both estimators are told: scikit-learn's settings by its names and with its defaults, then xpnet's."""

    hidden_layer_sizes: Any = (100,)
    activation: str = "relu"
    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    layers: Sequence[Layer] | Layer | None = None
    dropout: float = 0.0
    batch_norm: bool = False
    normalize: bool = False
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    device: str | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "layers": [list, tuple, Layer, None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "normalize": ["boolean"],
        "optimizer": [HasMethods("update"), None],
        "schedule": [HasMethods("factor"), None],
        "device": [str, None],
    }

    def make_layers(self, input_shape: Shape, outputs: int) -> list[Layer]:
        """The hidden layers, or ``layers``, and a dense layer that gives the outputs.

        Initial weights are uniform with scikit-learn's bounds, √(6/(n_in + n_out)), or √(2/(n_in + n_out)) for the
        logistic function; biases are 0.

        Raises
        ------
        InputError
            For layers that do not fit, and for settings of hidden layers beside ``layers``.
        """
        init = VarianceScaling(1 / 3 if self.activation == "logistic" else 1.0, "average", "uniform")
        layers = self._hidden_layers(init) if self.layers is None else self._given_layers()
        shape = input_shape
        for layer in layers:
            shape = layer.output_shape(shape)
        return [*layers, *([Flatten()] if len(shape) > 1 else []), Dense(outputs, weight_init=init)]

    def make_optimizer(self, weight_decay: float) -> Optimizer:
        """``optimizer``, or what ``solver`` stands for."""
        if self.optimizer is not None:
            return self.optimizer
        if self.solver == "adam":
            return Adam(self.learning_rate_init, weight_decay, self.beta_1, self.beta_2, self.epsilon)
        if self.momentum == 0:
            return SGD(self.learning_rate_init, weight_decay)
        form = "nesterov" if self.nesterovs_momentum else "heavy-ball"
        return Momentum(self.learning_rate_init, self.momentum, weight_decay, form)

    def make_schedule(self, batches: int, examples: int, seen: int) -> Schedule:
        """``schedule``, or what ``learning_rate`` stands for, which like scikit-learn's is SGD's alone."""
        if self.schedule is not None:
            return self.schedule
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            return InverseScaling(self.power_t, batches, examples, seen)
        return Adaptive() if self.solver == "sgd" and self.learning_rate == "adaptive" else Constant()

    def _given_layers(self) -> list[Layer]:
        if self.dropout or self.batch_norm:
            raise InputError(
                f"{type(self).__name__}: expected no dropout or batch_norm beside layers, got one. They are for "
                "hidden_layer_sizes; put Dropout and BatchNorm into layers."
            )
        layers = [self.layers] if isinstance(self.layers, Layer) else list(self.layers or ())
        for layer in layers:
            if not isinstance(layer, Layer):
                raise InputError(
                    f"{type(self).__name__}: expected layers of xpnet.layers, got {short(layer)}. "
                    "Use layers such as Dense(100)."
                )
        return layers

    def _hidden_layers(self, init: VarianceScaling) -> list[Layer]:
        sizes, layers = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist(), list[Layer]()
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise InputError(
                f"{type(self).__name__}: expected hidden_layer_sizes of integers above 0, got {sizes}. Change them."
            )
        activation = _ACTIVATIONS[self.activation]
        for size in sizes:
            layers.append(Dense(int(size), weight_init=init))
            layers += [BatchNorm()] if self.batch_norm else []
            layers += [activation()] if activation else []
            layers += [Dropout(self.dropout)] if self.dropout else []
        return layers


@dataclass(frozen=True)
class InverseScaling:
    """The factor (s + n·epoch + 1)^-power, with n the number of examples, s of them seen before."""

    power: float
    batches: int
    examples: int
    seen: int

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return (self.seen + self.examples * (step // self.batches) + 1) ** -self.power


class Adaptive:
    """A factor that is divided by 5 whenever training has stood still."""

    def __init__(self) -> None:
        self.value = 1.0

    def factor(self, step: int) -> float:
        """The factor as it is now."""
        return self.value

    def fall(self, learning_rate: float) -> bool:
        """Divide by 5, unless the learning rate has reached its end; whether it was divided."""
        if learning_rate * self.value <= _LEAST_RATE:
            return False
        self.value /= 5
        return True
