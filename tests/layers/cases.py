"""The layers that the tests of this folder run on.

Whoever writes a layer adds it here, with the settings that take different ways through its code.
"""

from typing import NamedTuple

from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.shapes import Shape


class Case(NamedTuple):
    """A layer and the shape of one example; ``wrong`` is a shape of wrong rank, where any is."""

    name: str
    layer: Layer
    input_shape: Shape
    wrong: Shape | None = None


CASES = [
    Case("dense", Dense(3), (5,), wrong=(2, 5)),
    Case("conv", Conv2D(3, (3, 2), padding=(1, 0)), (5, 4, 2), wrong=(40,)),
    Case("conv_strided", Conv2D(2, 3, stride=2, padding=1, dilation=(1, 2)), (6, 7, 3), wrong=(6, 7)),
    Case("pool", MaxPool2D(2), (4, 5, 3), wrong=(60,)),
    Case("pool_overlapping", MaxPool2D(3, stride=2, padding=1), (5, 6, 2), wrong=(5, 6)),
    Case("conv_grouped", Conv2D(4, 3, groups=2, stride=2, padding=1, bias=False), (5, 6, 4), wrong=(5, 4)),
    Case("conv_1x1_strided", Conv2D(3, 1, stride=2), (5, 4, 2), wrong=(4,)),
    Case("avg_pool", AvgPool2D(2), (4, 5, 3), wrong=(60,)),
    Case("avg_pool_overlapping", AvgPool2D((3, 2), stride=(2, 1), padding=(1, 0)), (5, 6, 2), wrong=(5, 6)),
    Case("global_avg_pool", GlobalAvgPool2D(), (3, 4, 2), wrong=(2,)),
    Case("relu", ReLU(), (3, 4, 2)),
    Case("leaky_relu", LeakyReLU(0.1), (3, 4, 2)),
    Case("sigmoid", Sigmoid(), (3, 4, 2)),
    Case("tanh", Tanh(), (3, 4, 2)),
    Case("softplus", Softplus(), (3, 4, 2)),
    Case("softmax", Softmax(), (5,)),
    Case("softmax_images", Softmax(), (3, 4, 2)),
    Case("dropout", Dropout(0.4), (3, 4, 2)),
    Case("batch_norm_vectors", BatchNorm(), (5,)),
    Case("batch_norm_images", BatchNorm(momentum=0.3), (3, 4, 2)),
    Case("batch_norm_frozen", BatchNorm(frozen=True), (3, 4, 2)),
    Case("residual_identity", Residual(Sequential([BatchNorm(), Tanh(), Conv2D(2, 3, padding=1)])), (4, 3, 2)),
    Case(
        "residual_projection",
        Residual(Sequential([Conv2D(4, 3, stride=2, padding=1), Dropout(0.3), Tanh()]), Conv2D(4, 1, stride=2)),
        (4, 5, 2),
        wrong=(4, 5),
    ),
    Case("flatten", Flatten(), (2, 3, 2)),
    Case("normalize", Normalize(), (3, 4, 2)),
    Case(
        "sequential",
        Sequential([Normalize(), Conv2D(2, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten(), ("out", Dense(3))]),
        (4, 4, 1),
        wrong=(4, 4),
    ),
]
