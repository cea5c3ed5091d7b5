"""SqueezeNet: few parameters by 1x1 convolutions, with the layer names of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from xpnet.initializers import Normal
from xpnet.layers import Concat, Conv2D, Dropout, GlobalAvgPool2D, Layer, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.models.imagenet import PIXEL_SCALE
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # the authors' solver lowers the learning rate linearly
    "folder",
    TrainConfig(
        iterations=170_000,
        batch_size=512,
        optimizer=Momentum(0.04, form="heavy-ball", weight_decay=0.0002),
        schedule=Cosine(),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)
_Stage = Sequence[tuple[int, int]]  # channels of the squeeze and of each expand convolution, of each module


def squeezenet(
    first: Conv2D, stages: Sequence[_Stage], input_shape: Shape, classes: int, *, dropout: float = 0.5
) -> Sequential:
    """A convolution, fire modules with max-pooling in front of each stage, and a convolution whose mean are the logits.

    squeezenet1_0 is the paper's; squeezenet1_1 pools earlier and computes 2.4 times less. 1,248,424 and 1,235,496
    parameters on 1000 classes.

    Published: top-1 and top-5 error 42.5 and 19.7 % on ImageNet (paper, table 2); torchvision's weights 41.9 and
    19.6 % (1.0), 41.8 and 19.4 % (1.1).

    Source: Iandola et al., "SqueezeNet", arXiv:1602.07360, table 1; 1.1: the authors' repository.
    """
    features: list[Layer] = [first, ReLU()]
    for stage in stages:
        features += [MaxPool2D(3, stride=2, ceil=True), *(fire(*channels) for channels in stage)]
    head = Conv2D(classes, kernel_size=1, weight_init=Normal(0.01))
    classifier = Sequential.numbered([Dropout(dropout), head, ReLU(), GlobalAvgPool2D()])
    return Sequential([Normalize(), ("features", Sequential.numbered(features)), ("classifier", classifier)])


def fire(squeeze: int, expand: int) -> Sequential:
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""
    expanded = [("expand1x1", Conv2D(expand, 1)), ("expand3x3", Conv2D(expand, 3, padding=1))]
    return Sequential(
        [
            ("squeeze", Conv2D(squeeze, 1)),
            ("squeeze_activation", ReLU()),
            ("branches", Concat(expanded)),
            ("expand_activation", ReLU()),
        ]
    )


for _name, _first, _stages in (
    (
        "squeezenet1_0",
        Conv2D(96, 7, stride=2),
        (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),)),
    ),
    (
        "squeezenet1_1",
        Conv2D(64, 3, stride=2),
        (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))),
    ),
):
    register(_name, input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)(partial(squeezenet, _first, _stages))
