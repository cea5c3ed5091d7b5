"""VGG: 3x3 convolutions and max-pooling, with the layer names of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from xpnet.initializers import Normal, he_normal_fan_out
from xpnet.layers import (
    AdaptiveAvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Normalize,
    ReLU,
    Sequential,
)
from xpnet.models.imagenet import PIXEL_SCALE
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # the paper divides the learning rate by 10 when validation no longer improves
    "folder",
    TrainConfig(
        epochs=74,
        batch_size=256,
        optimizer=Momentum(0.01, form="heavy-ball", weight_decay=0.0005),
        schedule=Cosine(),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)
_CHANNELS = (64, 128, 256, 512, 512)  # of the convolutions in front of each max-pooling
_SMALL = Normal(0.01)


def vgg(
    depths: Sequence[int], batch_norm: bool, input_shape: Shape, classes: int, *, dropout: float = 0.5
) -> Sequential:
    """Five stages of ``depths`` convolutions, each ending in max-pooling, then three dense layers.

    Configurations A, B, D and E of the paper are vgg11, vgg13, vgg16 and vgg19; names that end in _bn have a batch
    normalisation after each convolution. The stages' output is brought to 7x7 pixels, so that images of 32x32 and more
    give the dense layers the same number of inputs.

    Parameters on 1000 classes: 132,863,336, 133,047,848, 138,357,544 and 143,667,240; with batch normalisation
    132,868,840, 133,053,736, 138,365,992 and 143,678,248.

    Published top-1 errors on ImageNet, one crop: 29.6, 28.7, 27.0 and 27.3 % (paper, table 3, single scale); of
    torchvision's weights 31.0, 30.1, 28.4 and 27.6 %.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
    table 1; batch normalisation: torchvision.
    """
    features: list[Layer] = []
    for channels, depth in zip(_CHANNELS, depths, strict=True):
        for _ in range(depth):
            features.append(Conv2D(channels, 3, padding=1, weight_init=he_normal_fan_out))
            features += [BatchNorm(), ReLU()] if batch_norm else [ReLU()]
        features.append(MaxPool2D(2))
    classifier: list[Layer] = [
        *(Dense(4096, _SMALL), ReLU(), Dropout(dropout)),
        *(Dense(4096, _SMALL), ReLU(), Dropout(dropout)),
        Dense(classes, _SMALL),
    ]
    return Sequential(
        [
            Normalize(),
            ("features", Sequential.numbered(features)),
            ("avgpool", AdaptiveAvgPool2D(7)),
            Flatten(),
            ("classifier", Sequential.numbered(classifier)),
        ]
    )


for _depth, _depths in (
    (11, (1, 1, 2, 2, 2)),
    (13, (2, 2, 2, 2, 2)),
    (16, (2, 2, 3, 3, 3)),
    (19, (2, 2, 4, 4, 4)),
):
    for _name, _batch_norm in ((f"vgg{_depth}", False), (f"vgg{_depth}_bn", True)):
        register(_name, input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)(partial(vgg, _depths, _batch_norm))
