"""The work in a network that no implementation can leave out."""

from __future__ import annotations

import math

from xpnet.layers import Conv2D, Dense, GlobalAvgPool2D, Layer
from xpnet.layers.pooling import AvgPool2D, MaxPool2D
from xpnet.shapes import Shape


def multiplications(layer: Layer, input_shape: Shape) -> int:
    """Those of one image in a forward pass; in training each gradient takes as many again."""
    total = 0
    for _, leaf, shape in layer.leaves(input_shape):
        if isinstance(leaf, Conv2D):
            taps = math.prod(leaf.window.kernel) * shape[2] // leaf.groups
            total += math.prod(leaf.output_shape(shape)) * taps
        elif isinstance(leaf, Dense):
            total += leaf.units * math.prod(shape)
    return total


def values_moved(layer: Layer, input_shape: Shape, *, gradients: int) -> int:
    """Values of one image that a step reads and writes where element-wise layers are computed with their neighbours.

    Convolutions, dense layers and pools read x and write y; backward they read dL/dy and x, and write dL/dx where it is
    asked for, for which ``gradients`` is 2.
    """
    if not isinstance(layer, Conv2D | Dense | MaxPool2D | AvgPool2D | GlobalAvgPool2D):
        return 0
    ours, theirs = math.prod(input_shape), math.prod(layer.output_shape(input_shape))
    return (1 + gradients) * ours + 2 * theirs
