"""U-Net: a class for each pixel, from features of all scales."""

from __future__ import annotations

from functools import partial

from xpnet.layers import (
    BatchNorm,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Identity,
    Layer,
    MaxPool2D,
    Normalize,
    ReLU,
    Sequential,
)
from xpnet.models.registry import Recipe, check_multiples, register
from xpnet.optimizers import Adam
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(
    "shapes",
    TrainConfig(
        epochs=3,
        batch_size=8,
        optimizer=Adam(0.003),
        schedule=Cosine(),
        normalize=1 / 64,  # about one standard deviation
        validation=200,
        report_every=150,
    ),
)
_LEVELS = 5


def unet(name: str, width: int, batch_norm: bool, input_shape: Shape, classes: int) -> Sequential:
    """Five levels, each with half the pixels and twice the channels of the one above, from ``width`` channels on.

    A level is two convolutions, then its own output beside what comes up from the level below, and two convolutions
    more. The convolutions pad, so that the output has the size of the image: (H, W, classes). The paper's do not, and
    it crops what it joins.

    unet has 64 channels at the top: 31,030,658 parameters on grey images of 2 classes. unet_small has 16, and a batch
    normalisation after each convolution but the last: 1,942,628 on colour images of 4 classes.

    Published mean IoU (intersection over union): 92.0 and 77.6 % on two data sets of cells (paper, table 2).

    Raises InputError unless height and width are multiples of 16.
    Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI
    2015, figure 1.
    """
    check_multiples(name, input_shape, 2 ** (_LEVELS - 1))
    return Sequential([Normalize(), *_level(width, _LEVELS, batch_norm), ("head", Conv2D(classes, kernel_size=1))])


def _level(channels: int, levels: int, batch_norm: bool) -> list[tuple[str, Layer]]:
    """The layers of a level and those below it; the lowest has no others below."""
    if levels == 1:
        return [("bottom", _two_convolutions(channels, batch_norm))]
    below = [
        ("pool", MaxPool2D(2)),
        *_level(2 * channels, levels - 1, batch_norm),
        ("up", ConvTranspose2D(channels, kernel_size=2, stride=2)),
    ]
    return [
        ("down", _two_convolutions(channels, batch_norm)),
        ("joined", Concat([("skip", Identity()), ("below", Sequential(below))])),
        ("merge", _two_convolutions(channels, batch_norm)),
    ]


def _two_convolutions(channels: int, batch_norm: bool) -> Sequential:
    norm = [BatchNorm()] if batch_norm else []
    once = [Conv2D(channels, 3, padding=1, bias=not batch_norm), *norm, ReLU()]
    return Sequential([*once, *once])


register("unet", input_shape=(64, 64, 3), classes=4, recipe=_RECIPE)(partial(unet, "unet", 64, False))
register("unet_small", input_shape=(64, 64, 3), classes=4, recipe=_RECIPE)(partial(unet, "unet_small", 16, True))
