"""DenseNet: each layer sees the outputs of all before it; with the layer names of torchvision."""

from __future__ import annotations

from xpnet.initializers import Normal
from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    Identity,
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

_RECIPE = Recipe(  # the paper divides the learning rate by 10 after 30 and 60 epochs
    "folder",
    TrainConfig(
        epochs=90,
        batch_size=256,
        optimizer=Momentum(0.1, form="nesterov", weight_decay=0.0001),
        schedule=Cosine(),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)
_GROWTH, _STEM_CHANNELS, _DEPTHS = 32, 64, (6, 12, 24, 16)


@register("densenet121", input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)
def densenet121(input_shape: Shape, classes: int) -> Sequential:
    """Four dense blocks with growth 32, between them half of the channels and pixels: 7,978,856 parameters.

    Published: top-1 and top-5 error 25.0 and 7.7 % on ImageNet, one crop (paper, table 3); torchvision's weights 25.6
    and 8.0 %.

    Source: Huang et al., "Densely connected convolutional networks", CVPR 2017, table 1.
    """
    features: list[tuple[str, Layer]] = [
        ("conv0", _conv(_STEM_CHANNELS, 7, stride=2)),
        ("norm0", BatchNorm()),
        ("relu0", ReLU()),
        ("pool0", MaxPool2D(3, stride=2, padding=1)),
    ]
    channels = _STEM_CHANNELS
    for number, depth in enumerate(_DEPTHS, start=1):
        block = [(f"denselayer{place}", dense_layer()) for place in range(1, depth + 1)]
        features.append((f"denseblock{number}", Sequential(block)))
        channels += depth * _GROWTH
        if number < len(_DEPTHS):
            channels //= 2
            features.append((f"transition{number}", _transition(channels)))
    features += [("norm5", BatchNorm()), ("relu5", ReLU())]
    return Sequential(
        [
            Normalize(),
            ("features", Sequential(features)),
            ("avgpool", GlobalAvgPool2D()),
            ("classifier", Dense(classes, Normal(0.01))),
        ]
    )


def dense_layer() -> Concat:
    """The input, and behind it 32 channels more that a 1x1 and a 3x3 convolution make of it."""
    branch = Sequential(
        [
            *(("norm1", BatchNorm()), ("relu1", ReLU()), ("conv1", _conv(4 * _GROWTH, 1))),
            *(("norm2", BatchNorm()), ("relu2", ReLU()), ("conv2", _conv(_GROWTH, 3))),
        ]
    )
    return Concat([("input", Identity()), ("branch", branch)])


def _transition(channels: int) -> Sequential:
    return Sequential(
        [("norm", BatchNorm()), ("relu", ReLU()), ("conv", _conv(channels, 1)), ("pool", AvgPool2D(2))],
    )


def _conv(filters: int, kernel: int, stride: int = 1) -> Conv2D:
    return Conv2D(filters, kernel, stride, padding=kernel // 2, bias=False)
