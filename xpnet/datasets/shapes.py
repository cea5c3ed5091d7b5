"""Drawn images of discs, squares and triangles, with the class of each pixel: 64x64 pixels in colour, 2,000 and 400."""

from __future__ import annotations

import math
import os

import numpy as np

from xpnet.datasets.base import Dataset
from xpnet.errors import InputError

CLASS_NAMES = ("background", "disc", "square", "triangle")
_SIZE, _TRAIN, _TEST = 64, 2000, 400
_MOST_SHAPES = 4
_CORNERS = {2: 4, 3: 3}  # of the classes but the disc
_NOISE = 16.0


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Draw the data set, the same in every process.

    Each image has one to four shapes of random place, size, angle and colour, the later ones in front of the earlier,
    on a background of another colour, and noise over all.

    Shapes: images uint8 (N, 64, 64, 3), targets int32 (N, 64, 64) that count ``CLASS_NAMES`` from 0.

    Raises InputError if ``data_dir`` is given: there are no files.
    """
    if data_dir is not None:
        raise InputError("dataset: expected no data folder for shapes, which are drawn, got one. Leave it out.")
    rng = np.random.default_rng(0)
    images, targets = zip(*(draw(rng) for _ in range(_TRAIN + _TEST)), strict=True)
    images, targets = np.stack(images), np.stack(targets)
    return Dataset("shapes", images[:_TRAIN], targets[:_TRAIN], images[_TRAIN:], targets[_TRAIN:], CLASS_NAMES)


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (64, 64, 3) of uint8 and the class (64, 64) of each of its pixels."""
    colour = rng.uniform(0, 255, 3)
    image, classes = np.broadcast_to(colour, (_SIZE, _SIZE, 3)).copy(), np.zeros((_SIZE, _SIZE), np.int32)
    for _ in range(rng.integers(1, _MOST_SHAPES + 1)):
        kind = int(rng.integers(1, len(CLASS_NAMES)))
        inside = shape_mask(kind, rng.uniform(8, _SIZE - 8, 2), rng.uniform(6, 16), rng.uniform(0, 2 * math.pi))
        image[inside], classes[inside] = (colour + rng.uniform(64, 192, 3)) % 256, kind
    return np.clip(image + rng.normal(0, _NOISE, image.shape), 0, 255).astype(np.uint8), classes


def shape_mask(kind: int, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """The pixels (64, 64) in a disc, or in a regular polygon whose corners lie on that disc's edge.

    A pixel at x is in the disc where |x - c| <= r, in the polygon where (x - c)·n <= r cos(π/k) for the normals n of
    all its k sides.
    """
    places = np.moveaxis(np.mgrid[:_SIZE, :_SIZE], 0, -1) - centre
    if kind not in _CORNERS:
        return np.asarray(np.hypot(places[..., 0], places[..., 1]) <= radius)
    sides = _CORNERS[kind]
    angles = angle + 2 * math.pi * np.arange(sides) / sides
    distances = places @ np.stack([np.sin(angles), np.cos(angles)])
    return np.asarray((distances <= radius * math.cos(math.pi / sides)).all(axis=-1))
