"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.initializers import Initializer, Normal, glorot_uniform, he_normal, lecun_normal
from xpnet.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Normalize,
    ReLU,
    Sequential,
    Sigmoid,
    Softplus,
    Tanh,
)
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

ACTIVATIONS: Mapping[str, type[Layer]] = {
    "relu": ReLU,
    "leaky-relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softplus": Softplus,
}
WEIGHT_INITS: Mapping[str, Initializer] = {
    "he": he_normal,
    "glorot": glorot_uniform,
    "lecun": lecun_normal,
    "normal": Normal(1.0),
}
_RECIPE = Recipe(
    "mnist",
    TrainConfig(
        epochs=10,
        batch_size=128,
        optimizer=Momentum(0.3),
        normalize=1 / 255,
        validation="auto",
        report_every=100,
    ),
)


@register("mlp", input_shape=(28, 28, 1), classes=10, recipe=_RECIPE)
def mlp(
    input_shape: Shape,
    classes: int,
    *,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    weight_init: str = "he",
) -> Sequential:
    """Dense layers of ``hidden`` units, each with batch normalisation (if asked for), activation and dropout.

    Raises InputError for an unknown activation or weight initialisation, or other settings out of range.
    """
    nonlinearity = pick("Model 'mlp', activation", ACTIVATIONS, activation)
    initializer = pick("Model 'mlp', weight_init", WEIGHT_INITS, weight_init)
    if not isinstance(hidden, list | tuple):
        raise InputError(
            f"Model 'mlp': expected hidden to be a list of numbers of units, got {hidden!r}. Pass a list such as [100]."
        )
    layers: list[Layer] = [Normalize(), Flatten()]
    for units in hidden:
        layers.append(Dense(units, weight_init=initializer))
        if batch_norm:
            layers.append(BatchNorm())
        layers.append(nonlinearity())
        if dropout:
            layers.append(Dropout(dropout))
    return Sequential([*layers, Dense(classes, weight_init=initializer)])
