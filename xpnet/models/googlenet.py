"""GoogLeNet, the first Inception network, with the layer names of torchvision."""

from __future__ import annotations

from xpnet.initializers import Normal
from xpnet.layers import (
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    Normalize,
    ReLU,
    Sequential,
)
from xpnet.models.imagenet import PLAIN_PIXELS
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # the paper lowers the learning rate by 4 % every 8 epochs; how long is not published
    "folder",
    TrainConfig(
        epochs=90,
        batch_size=256,
        optimizer=Momentum(0.01, form="heavy-ball", weight_decay=0.0002),
        schedule=Cosine(),
        normalize=1 / 127.5,
        validation="auto",
        report_every=100,
    ),
)
# Channels of the branches: 1x1; 1x1 and 3x3 after it; 1x1 and "5x5" after it; 1x1 after the pooling.
_MODULES = {
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "maxpool3": MaxPool2D(3, stride=2, ceil=True),
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "maxpool4": MaxPool2D(2, stride=2, ceil=True),
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}


@register("googlenet", input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE, pixels=PLAIN_PIXELS)
def googlenet(input_shape: Shape, classes: int, *, dropout: float = 0.2) -> Sequential:
    """Nine Inception modules of four branches, mean over the image, dense layer: 6,624,904 parameters, 1000 classes.

    As in torchvision, with batch normalisation after each convolution, 3x3 kernels where the paper has 5x5, and weights
    for pixels from -1 to 1. Without the paper's auxiliary classifiers, which training alone uses: theirs in a file are
    left out.

    Published: top-5 error 10.07 % on ImageNet, one crop (paper, table 3); torchvision's weights 30.2 % top-1, 10.5 %
    top-5.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1.
    """
    layers: list[tuple[str, Layer]] = [
        ("normalize1", Normalize()),
        ("conv1", _conv(64, 7, stride=2)),
        ("maxpool1", MaxPool2D(3, stride=2, ceil=True)),
        ("conv2", _conv(64, 1)),
        ("conv3", _conv(192, 3)),
        ("maxpool2", MaxPool2D(3, stride=2, ceil=True)),
    ]
    layers += [(name, part if isinstance(part, Layer) else inception(*part)) for name, part in _MODULES.items()]
    head = Dense(classes, Normal(0.01))
    return Sequential([*layers, ("avgpool", GlobalAvgPool2D()), ("dropout", Dropout(dropout)), ("fc", head)])


def inception(one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> Concat:
    """Convolutions of several sizes on the same input, side by side; 1x1 convolutions narrow what the others take."""
    return Concat(
        [
            ("branch1", _conv(one, 1)),
            ("branch2", Sequential.numbered([_conv(three[0], 1), _conv(three[1], 3)])),
            ("branch3", Sequential.numbered([_conv(five[0], 1), _conv(five[1], 3)])),
            ("branch4", Sequential.numbered([MaxPool2D(3, stride=1, padding=1), _conv(pooled, 1)])),
        ]
    )


def _conv(filters: int, kernel: int, stride: int = 1) -> Sequential:
    conv = Conv2D(filters, kernel, stride, padding=kernel // 2, bias=False)
    return Sequential([("conv", conv), ("bn", BatchNorm(eps=0.001)), ("relu", ReLU())])
