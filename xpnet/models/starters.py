"""The two starter networks of a course on deep learning, layer by layer as handed out."""

from __future__ import annotations

import math

from xpnet.initializers import Normal, VarianceScaling
from xpnet.layers import Conv2D, Dense, Flatten, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_MNIST_RECIPE = Recipe(
    "mnist",
    TrainConfig(
        iterations=3000,
        batch_size=16,
        optimizer=Momentum(0.1, weight_decay=0.005),
        normalize=1 / 255,
        validation="auto",
        report_every=100,
    ),
)
_CIFAR10_RECIPE = Recipe(
    "cifar10",
    TrainConfig(
        iterations=5000,
        batch_size=16,
        optimizer=Momentum(1e-3, momentum=0.95, weight_decay=0.001),
        normalize=1.0,
        validation="auto",
        limit=18_000,  # of 20,000, with the 2,000 for validation
        report_every=100,
    ),
)


@register("mnist_starter", input_shape=(28, 28, 1), classes=10, recipe=_MNIST_RECIPE)
def mnist_starter(input_shape: Shape, classes: int) -> Sequential:
    """Two blocks of convolution, ReLU and max-pooling, then one dense layer: 14,682 parameters."""
    # The published code counts 5*5*3 inputs for the first convolution, as if the images had colours.
    first = Normal(math.sqrt(2 / 75))
    return Sequential(
        [
            Normalize(),
            Conv2D(16, kernel_size=5, padding=2, weight_init=first),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, kernel_size=5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(classes),
        ]
    )


@register("cifar10_starter", input_shape=(32, 32, 3), classes=10, recipe=_CIFAR10_RECIPE)
def cifar10_starter(input_shape: Shape, classes: int) -> Sequential:
    """The same without the second pooling: 48,602 parameters on 32x32 colour images."""
    tenth_of_he = VarianceScaling(2 * 0.1**2)
    return Sequential(
        [
            Normalize(),
            Conv2D(16, kernel_size=5, padding=2, weight_init=tenth_of_he),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, kernel_size=5, padding=2, weight_init=tenth_of_he),
            ReLU(),
            Flatten(),
            Dense(classes),
        ]
    )
