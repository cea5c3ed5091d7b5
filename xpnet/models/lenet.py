"""LeNet-5 as it is built today: max-pooling, ReLU, and every channel joined to every one before it."""

from __future__ import annotations

from xpnet.layers import Conv2D, Dense, Flatten, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(
    "mnist",
    TrainConfig(
        epochs=10,
        batch_size=64,
        optimizer=Momentum(0.1),
        normalize=1 / 255,
        validation="auto",
        report_every=100,
    ),
)


@register("lenet5", input_shape=(28, 28, 1), classes=10, recipe=_RECIPE)
def lenet5(input_shape: Shape, classes: int) -> Sequential:
    """Two blocks of convolution and max-pooling, three dense layers: 61,706 parameters on 32x32 grey images.

    Images of 28x28 are padded to 32x32 by the first convolution; other sizes are taken as they are.

    Source: LeCun et al., Proc. IEEE 86(11), 1998, section II.B, whose subsampling, partial connections and output
    layer gave way to what is common now.
    """
    padding = 2 if tuple(input_shape[:2]) == (28, 28) else 0
    return Sequential(
        [
            Normalize(),
            Conv2D(6, kernel_size=5, padding=padding),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, kernel_size=5),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(120),
            ReLU(),
            Dense(84),
            ReLU(),
            Dense(classes),
        ]
    )
