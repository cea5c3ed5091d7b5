"""The residual networks of He et al. for CIFAR-10: narrow blocks in three stages, shortcuts without parameters."""

from __future__ import annotations

from functools import partial

from xpnet.datasets.augment import HorizontalFlip, RandomCrop
from xpnet.initializers import he_normal_fan_out
from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    Layer,
    Normalize,
    PadChannels,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # the paper divides the learning rate by 10 after 32,000 and 48,000 iterations
    "cifar10",
    TrainConfig(
        iterations=64_000,
        batch_size=128,
        optimizer=Momentum(0.1, form="heavy-ball", weight_decay=0.0001),
        schedule=Cosine(),
        augmentation=(RandomCrop(4), HorizontalFlip()),
        normalize=1 / 64,  # about one standard deviation
        validation="auto",
        report_every=100,
    ),
)
_CHANNELS = (16, 32, 64)


def resnet_cifar(blocks: int, input_shape: Shape, classes: int) -> Sequential:
    """A 3x3 convolution, three stages of ``blocks`` with 16, 32 and 64 channels, mean over the image, dense layer.

    6 * blocks + 2 layers with weights: resnet20, resnet32, resnet56 and resnet110 have 269,722, 464,154, 853,018 and
    1,727,962 parameters on 10 classes (the paper says 0.27, 0.46, 0.85 and 1.7 million). The second and third stages
    halve the image; there the shortcut takes every second pixel, and zeros for the channels that it lacks.

    Published test errors on CIFAR-10: 8.75, 7.51, 6.97 and 6.43 % (paper, table 6).

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2.
    """
    layers: list[tuple[str, Layer]] = [("conv1", _conv(_CHANNELS[0])), ("bn1", BatchNorm()), ("relu", ReLU())]
    for stage, channels in enumerate(_CHANNELS, start=1):
        first = narrow_block(channels, is_first=stage > 1)
        others = [narrow_block(channels) for _ in range(blocks - 1)]
        layers.append((f"layer{stage}", Sequential.numbered([first, *others])))
    return Sequential([Normalize(), *layers, ("avgpool", GlobalAvgPool2D()), ("fc", Dense(classes))])


def narrow_block(channels: int, *, is_first: bool = False) -> Sequential:
    """Two 3x3 convolutions and the activation after the sum; the first block of a stage halves the image."""
    branch = [_conv(channels, stride=2 if is_first else 1), BatchNorm(), ReLU(), _conv(channels), BatchNorm()]
    shortcut = None
    if is_first:
        added = channels // 4  # on each side of half as many channels
        shortcut = Sequential([("every_second", AvgPool2D(1, stride=2)), ("zeros", PadChannels(added, added))])
    return Sequential([("residual", Residual(Sequential(branch), shortcut)), ("relu", ReLU())])


def _conv(filters: int, stride: int = 1) -> Conv2D:
    return Conv2D(filters, 3, stride, padding=1, bias=False, weight_init=he_normal_fan_out)


for _name, _blocks in (("resnet20", 3), ("resnet32", 5), ("resnet56", 9), ("resnet110", 18)):
    register(_name, input_shape=(32, 32, 3), classes=10, recipe=_RECIPE)(partial(resnet_cifar, _blocks))
