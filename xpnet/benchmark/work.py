"""The work in a network that no implementation can leave out."""

from __future__ import annotations

import math

from xpnet.layers import Conv2D, Dense, Layer
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
