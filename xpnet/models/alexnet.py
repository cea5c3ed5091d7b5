"""AlexNet in its single-tower form, with the layer names of torchvision."""

from __future__ import annotations

from xpnet.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.models.imagenet import PIXEL_SCALE
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(
    "folder",
    TrainConfig(
        epochs=90,
        batch_size=128,
        optimizer=Momentum(0.01, form="heavy-ball", weight_decay=0.0005),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)


@register("alexnet", input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)
def alexnet(input_shape: Shape, classes: int, *, dropout: float = 0.5) -> Sequential:
    """Five convolutions and three dense layers: 61,100,840 parameters on images of 224x224 (or 227x227) pixels.

    There is no adaptive pooling: images of another size, from 63x63 on, give the first dense layer another number of
    inputs than 6*6*256, and torchvision's weights then do not fit.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, section 5.
    """
    features: list[Layer] = [
        Conv2D(64, kernel_size=11, stride=4, padding=2),
        ReLU(),
        MaxPool2D(3, stride=2),
        Conv2D(192, kernel_size=5, padding=2),
        ReLU(),
        MaxPool2D(3, stride=2),
        Conv2D(384, kernel_size=3, padding=1),
        ReLU(),
        Conv2D(256, kernel_size=3, padding=1),
        ReLU(),
        Conv2D(256, kernel_size=3, padding=1),
        ReLU(),
        MaxPool2D(3, stride=2),
    ]
    classifier: list[Layer] = [
        Dropout(dropout),
        Dense(4096),
        ReLU(),
        Dropout(dropout),
        Dense(4096),
        ReLU(),
        Dense(classes),
    ]
    return Sequential(
        [
            Normalize(),
            ("features", Sequential.numbered(features)),
            Flatten(),
            ("classifier", Sequential.numbered(classifier)),
        ]
    )
