"""How the cost of a training step grows: batch size, image size, channels and depth, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xpnet.benchmark.cases import Case
from xpnet.benchmark.controller import Row, Say, measure
from xpnet.layers import Conv2D, Dense, GlobalAvgPool2D, Normalize, ReLU, Sequential

BATCH_SIZE, SIDE, CHANNELS, DEPTH = 32, 32, 16, 4
WORK = "proportional to multiplications"


class Point(NamedTuple):
    """What is varied, to which value, the multiplications of one image in a forward pass, and what was measured."""

    varied: str
    value: int
    multiplications: int
    row: Row


def plain_network(batch_size: int = BATCH_SIZE, side: int = SIDE, channels: int = CHANNELS, depth: int = DEPTH) -> Case:
    """``depth`` 3x3 convolutions with ReLU on square colour images, the mean over the image, a dense layer."""
    blocks = [layer for _ in range(depth) for layer in (Conv2D(channels, 3, padding=1), ReLU())]
    layer = Sequential([Normalize(), *blocks, GlobalAvgPool2D(), Dense(10)])
    return Case("plain", layer, (side, side, 3), batch_size)


SWEEPS = {
    "images in a batch": [(n, plain_network(batch_size=n)) for n in (1, 4, 16, 64, 256)],
    "pixels of an image": [(n * n, plain_network(side=n)) for n in (8, 16, 32, 64)],
    "channels": [(n, plain_network(channels=n)) for n in (4, 8, 16, 32, 64)],
    "convolutions": [(n, plain_network(depth=n)) for n in (1, 2, 4, 8, 16)],
}


def measure_scaling(
    implementations: Sequence[str], say: Say, *, device: str, threads: int, rounds: int
) -> Iterator[Point]:
    """Time a training step at every point of the sweeps."""
    for varied, cases in SWEEPS.items():
        for value, case in cases:
            settings = {"device": device, "threads": threads, "rounds": rounds, "modes": ("train",)}
            for row in measure(case, implementations, say, **settings):
                yield Point(varied, value, case.layer.multiplications(case.input_shape), row)


def curves(points: Sequence[Point]) -> dict[str, dict[str, np.ndarray]]:
    """Microseconds per image for ``plots.scaling_curves``, with what they would be if only multiplications cost.

    That last curve ends where the first implementation's does: where a curve comes to it from above, time grows less
    than work does.
    """
    panels: dict[str, dict[str, np.ndarray]] = {}
    for varied in dict.fromkeys(point.varied for point in points):
        here = [point for point in points if point.varied == varied]
        found: dict[str, list[tuple[float, float]]] = {}
        for point in here:
            found.setdefault(point.row.implementation, []).append((point.value, 1e6 / point.row.images_per_second))
        panels[varied] = {name: np.array(values) for name, values in found.items()}
        first = next(iter(panels[varied].values()))
        work = {point.value: point.multiplications for point in here}
        last = first[-1, 1] / work[int(first[-1, 0])]
        panels[varied][WORK] = np.array([(value, last * count) for value, count in work.items()])
    return panels
