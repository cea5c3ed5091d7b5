"""The layers that the tests of this folder run on.

Whoever writes a layer adds it here, with the settings that take different ways through its code.
"""

from typing import NamedTuple

from xpnet.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, Normalize, ReLU, Sequential
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
    Case("relu", ReLU(), (3, 4, 2)),
    Case("flatten", Flatten(), (2, 3, 2)),
    Case("normalize", Normalize(), (3, 4, 2)),
    Case(
        "sequential",
        Sequential([Normalize(), Conv2D(2, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten(), ("out", Dense(3))]),
        (4, 4, 1),
        wrong=(4, 4),
    ),
]
