"""Random changes of training images, in array operations on the device where the images lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError
from xpnet.random import fold_in, random_bits
from xpnet.shapes import is_whole

_MOST_PIXELS = 1 << 20  # no image has a longer side, and positions in int32 stay far from their end


@dataclass(frozen=True)
class Augmentation:
    """Random crop, horizontal flip and cutout of a batch of images (N, H, W, C), each image for itself.

    ``crop_padding`` p extends an image by p black pixels on each side and cuts its own size out of that at a random
    place; ``flip`` mirrors it left to right with probability 1/2; ``cutout`` s blackens a square of s x s pixels around
    a random pixel (less of it at the border). All are functions of the key: the same key gives the same images on every
    backend.

    Raises InputError if a number is not whole, below 0 or above 2^20.  Source: Krizhevsky et al., NIPS 2012, section
    4.1 (crops and flips); DeVries and Taylor, arXiv:1708.04552 (cutout).
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if not is_whole(value) or not 0 <= value <= _MOST_PIXELS:
                raise InputError(
                    f"Augmentation: expected {name} to be a whole number from 0 to {_MOST_PIXELS}, got {value!r}. "
                    f"Change {name}."
                )

    def __bool__(self) -> bool:
        return bool(self.crop_padding or self.flip or self.cutout)

    def check_fits(self, input_shape: Sequence[int]) -> None:
        """Raise InputError unless something is left of every image (H, W, C)."""
        side = min(input_shape[:2])
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if value >= side:
                raise InputError(
                    f"Augmentation: expected {name} below {side}, the smaller side of the images, got {value}. "
                    f"Change {name}."
                )

    def __call__(self, key: Array, images: Array) -> Array:
        """The changed images, of the same dtype; one gather, whatever is asked for."""
        xp, (count, height, width, channels) = array_namespace(images), images.shape
        rows, columns = _positions(images, height, 1), _positions(images, width, 2)
        visible = xp.ones((count, height, width), dtype=xp.bool, device=device(images))
        if self.cutout:
            visible = ~(
                _within(rows, _draw(fold_in(key, 0), images, height), self.cutout)
                & _within(columns, _draw(fold_in(key, 1), images, width), self.cutout)
            )
        if self.flip:
            mirrored = _draw(fold_in(key, 2), images, 2)
            columns = mirrored * (width - 1 - columns) + (1 - mirrored) * columns
        if self.crop_padding:
            places = 2 * self.crop_padding + 1
            rows = rows + _draw(fold_in(key, 3), images, places) - self.crop_padding
            columns = columns + _draw(fold_in(key, 4), images, places) - self.crop_padding
            visible = visible & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        numbers = xp.arange(count, dtype=xp.int32, device=device(images))[:, None, None]
        # Pixels from outside are read from anywhere inside, and then made black.
        sources = (numbers * height + rows % height) * width + columns % width
        pixels = xp.take(xp.reshape(images, (-1, channels)), xp.reshape(sources, (-1,)), axis=0)
        return xp.reshape(pixels, images.shape) * xp.astype(visible, images.dtype)[..., None]


def _positions(images: Array, length: int, axis: int) -> Array:
    """0, 1, ..., length - 1 along one axis of (N, H, W)."""
    xp = array_namespace(images)
    positions = xp.arange(length, dtype=xp.int32, device=device(images))
    return xp.reshape(positions, (1, length, 1) if axis == 1 else (1, 1, length))


def _draw(key: Array, images: Array, choices: int) -> Array:
    """For each image a whole number from 0 to choices - 1, of shape (N, 1, 1)."""
    return random_bits(key, (images.shape[0], 1, 1)) % choices


def _within(positions: Array, centres: Array, size: int) -> Array:
    """Whether positions lie in the span of ``size`` pixels around the centres."""
    starts = centres - size // 2
    return (positions >= starts) & (positions < starts + size)
