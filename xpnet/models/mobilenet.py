"""MobileNet v2: separable convolutions between narrow shortcuts, with the layer names of torchvision."""

from __future__ import annotations

from xpnet.checks import pick
from xpnet.initializers import Normal, he_normal_fan_out
from xpnet.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    GlobalAvgPool2D,
    Layer,
    Normalize,
    ReLU6,
    Residual,
    Sequential,
)
from xpnet.models.imagenet import PIXEL_SCALE
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # torchvision's, which takes 0.98 of the learning rate after each epoch; the paper's is RMSProp
    "folder",
    TrainConfig(
        epochs=300,
        batch_size=256,
        optimizer=Momentum(0.045, form="heavy-ball", weight_decay=0.00004),
        schedule=Cosine(),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)
# Of each stage: how much wider the blocks are inside, their output channels, their number, the first one's stride.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_STRIDES = {"imagenet": 2, "small": 1}


@register("mobilenet_v2", input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)
def mobilenet_v2(input_shape: Shape, classes: int, *, dropout: float = 0.2, stem: str = "imagenet") -> Sequential:
    """Seventeen inverted residual blocks between two convolutions, mean over the image, dense layer.

    ``stem`` "small" is for images of about 32x32 pixels: its first convolution has stride 1 instead of 2.

    3,504,872 parameters on 1000 classes. Published: top-1 error 28.0 % on ImageNet (paper, table 4); torchvision's
    weights 28.1 %.

    Source: Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", CVPR 2018, table 2.
    """
    stem_stride = pick("Model 'mobilenet_v2', stem", STEM_STRIDES, stem)
    features: list[Layer] = [_normalized(_conv(32, 3, stem_stride))]
    channels = 32
    for expansion, outputs, count, first_stride in STAGES:
        for number in range(count):
            stride = first_stride if number == 0 else 1
            features.append(inverted_residual(channels, outputs, stride, expansion))
            channels = outputs
    features.append(_normalized(_conv(1280, 1)))
    classifier = Sequential.numbered([Dropout(dropout), Dense(classes, Normal(0.01))])
    return Sequential(
        [
            Normalize(),
            ("features", Sequential.numbered(features)),
            ("avgpool", GlobalAvgPool2D()),
            ("classifier", classifier),
        ]
    )


def inverted_residual(channels: int, outputs: int, stride: int, expansion: int) -> Layer:
    """A 1x1 convolution to more channels, a 3x3 one of each channel, and a 1x1 one to few, without an activation.

    Where neither size nor channels change, the input is added.
    """
    wide = [_normalized(_conv(channels * expansion, 1))] if expansion > 1 else []
    depthwise = DepthwiseConv2D(3, stride, padding=1, bias=False, weight_init=he_normal_fan_out)
    layers = [*wide, _normalized(depthwise), _conv(outputs, 1), BatchNorm()]
    branch = Sequential([("conv", Sequential.numbered(layers))])
    return Residual(branch) if stride == 1 and channels == outputs else branch


def _normalized(conv: Layer) -> Sequential:
    return Sequential.numbered([conv, BatchNorm(), ReLU6()])


def _conv(filters: int, kernel: int, stride: int = 1) -> Conv2D:
    return Conv2D(filters, kernel, stride, padding=kernel // 2, bias=False, weight_init=he_normal_fan_out)
