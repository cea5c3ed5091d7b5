"""Residual networks with the layer names of torchvision; in front of each block's own names stands its residual sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xpnet.checks import pick
from xpnet.initializers import VarianceScaling, he_normal_fan_out
from xpnet.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.models.imagenet import PIXEL_SCALE
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Momentum
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

Block = Callable[[int, int, int], Layer]  # input channels, output channels, stride

_RECIPE = Recipe(
    "folder",
    TrainConfig(
        epochs=90,
        batch_size=256,
        optimizer=Momentum(0.1, form="heavy-ball", weight_decay=0.0001),
        normalize=sum(PIXEL_SCALE) / 3,
        validation="auto",
        report_every=100,
    ),
)
_STEM_CHANNELS = 64


def resnet(
    name: str,
    block: Block,
    outputs: Sequence[int],
    depths: Sequence[int],
    input_shape: Shape,
    classes: int,
    *,
    stem: str = "imagenet",
) -> Sequential:
    """Stem, stages of ``depths`` blocks with ``outputs`` channels, mean over the image, dense layer.

    Each stage but the first halves the image. ``stem`` is "imagenet" (7x7 convolution with stride 2, max-pooling: a
    quarter of the image's size) or "small" (3x3 convolution, for images of about 32x32 pixels).

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, table 1; small stem: section 4.2.
    """
    layers = pick(f"Model {name!r}, stem", STEMS, stem)()
    if block is not bottleneck_v2:
        layers[1:1] = [("bn1", BatchNorm()), ("relu", ReLU())]
    channels = _STEM_CHANNELS
    for stage, (count, channels_out) in enumerate(zip(depths, outputs, strict=True), start=1):
        first = block(channels, channels_out, 1 if stage == 1 else 2)
        others = [block(channels_out, channels_out, 1) for _ in range(count - 1)]
        layers.append((f"layer{stage}", Sequential.numbered([first, *others])))
        channels = channels_out
    if block is bottleneck_v2:
        layers += [("bn", BatchNorm()), ("relu", ReLU())]
    # PyTorch's initial weights of a dense layer: uniform within 1/sqrt(n_in).
    head = Dense(classes, weight_init=VarianceScaling(1 / 3, distribution="uniform"))
    return Sequential([Normalize(), *layers, ("avgpool", GlobalAvgPool2D()), ("fc", head)])


def basic_block(channels: int, outputs: int, stride: int) -> Layer:
    """Two 3x3 convolutions, the activation after the sum."""
    branch = [_conv(outputs, 3, stride), BatchNorm(), ReLU(), _conv(outputs, 3), BatchNorm()]
    return _post_activation(branch, channels, outputs, stride)


def bottleneck(channels: int, outputs: int, stride: int) -> Layer:
    """A 3x3 convolution on a quarter of the channels between two of 1x1, the activation after the sum.

    The stride is in the 3x3 convolution, as in torchvision ("version 1.5"), and not in the first one as in the paper.
    """
    width = outputs // 4
    branch = [
        *(_conv(width, 1), BatchNorm(), ReLU()),
        *(_conv(width, 3, stride), BatchNorm(), ReLU()),
        *(_conv(outputs, 1), BatchNorm()),
    ]
    return _post_activation(branch, channels, outputs, stride)


def bottleneck_v2(channels: int, outputs: int, stride: int) -> Layer:
    """A bottleneck with normalisation and activation before each convolution, and none after the sum.

    A block with a projection activates its input for both paths; the projection has no normalisation. On 224x224
    colour images of 1000 classes resnet50v2 has 25,549,352 parameters and resnet101v2 44,541,480.

    Source: He et al., "Identity mappings in deep residual networks", ECCV 2016, figure 4(e) and appendix. Other
    programs call other networks v2.
    """
    width = outputs // 4
    activation = [("bn1", BatchNorm()), ("relu1", ReLU())]
    branch = [
        ("conv1", _conv(width, 1)),
        *(("bn2", BatchNorm()), ("relu2", ReLU()), ("conv2", _conv(width, 3, stride))),
        *(("bn3", BatchNorm()), ("relu3", ReLU()), ("conv3", _conv(outputs, 1))),
    ]
    if _projects(channels, outputs, stride):
        projection = Sequential.numbered([_conv(outputs, 1, stride)])
        return Sequential([*activation, ("residual", Residual(Sequential(branch), projection))])
    return Sequential([("residual", Residual(Sequential([*activation, *branch])))])


def _post_activation(branch: list[Layer], channels: int, outputs: int, stride: int) -> Layer:
    shortcut = None
    if _projects(channels, outputs, stride):
        shortcut = Sequential.numbered([_conv(outputs, 1, stride), BatchNorm()])
    return Sequential([("residual", Residual(Sequential(branch), shortcut)), ("relu", ReLU())])


def _projects(channels: int, outputs: int, stride: int) -> bool:
    """Whether the shortcut must change the shape."""
    return stride != 1 or channels != outputs


def _conv(filters: int, kernel: int, stride: int = 1) -> Conv2D:
    return Conv2D(filters, kernel, stride, padding=kernel // 2, bias=False, weight_init=he_normal_fan_out)


def _imagenet_stem() -> list[tuple[str, Layer]]:
    return [("conv1", _conv(_STEM_CHANNELS, 7, 2)), ("maxpool", MaxPool2D(3, stride=2, padding=1))]


def _small_stem() -> list[tuple[str, Layer]]:
    return [("conv1", _conv(_STEM_CHANNELS, 3))]


STEMS = {"imagenet": _imagenet_stem, "small": _small_stem}
_BASIC_OUTPUTS, _BOTTLENECK_OUTPUTS = (64, 128, 256, 512), (256, 512, 1024, 2048)

for _name, _block, _outputs, _depths in (
    ("resnet18", basic_block, _BASIC_OUTPUTS, (2, 2, 2, 2)),
    ("resnet34", basic_block, _BASIC_OUTPUTS, (3, 4, 6, 3)),
    ("resnet50", bottleneck, _BOTTLENECK_OUTPUTS, (3, 4, 6, 3)),
    ("resnet101", bottleneck, _BOTTLENECK_OUTPUTS, (3, 4, 23, 3)),
    ("resnet152", bottleneck, _BOTTLENECK_OUTPUTS, (3, 8, 36, 3)),
    ("resnet50v2", bottleneck_v2, _BOTTLENECK_OUTPUTS, (3, 4, 6, 3)),
    ("resnet101v2", bottleneck_v2, _BOTTLENECK_OUTPUTS, (3, 4, 23, 3)),
):
    register(_name, input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE)(
        partial(resnet, _name, _block, _outputs, _depths)
    )
