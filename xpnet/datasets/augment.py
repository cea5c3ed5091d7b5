"""Random changes of training images, in array operations on the device where the images lie.

An augmentation says for every pixel of the new image where in the old one it comes from. Several are thus composed by
arithmetic on positions, and the pixels are moved once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError
from xpnet.kernels import table
from xpnet.random import fold_in, random_bits
from xpnet.shapes import is_whole

__all__ = ["Augmentation", "Cutout", "Grid", "HorizontalFlip", "RandomCrop", "augment"]

_MOST_PIXELS = 1 << 20  # no image has a longer side, and positions in int32 stay far from their end
_OTHERS = 5  # the fold numbers before are those of the augmentations here, which makes a seed reproducible


class Grid(NamedTuple):
    """Where the pixels of new images come from.

    ``rows`` and ``columns`` are int32 positions in the old images, of a shape that broadcasts to (N, H, W); a pixel is
    black where ``visible`` (N, H, W) is False. ``size`` is (H, W).
    """

    rows: Array
    columns: Array
    visible: Array
    size: tuple[int, int]

    def draw(self, key: Array, choices: int) -> Array:
        """For each image a random integer from 0 to choices - 1, int32 (N, 1, 1)."""
        return random_bits(key, (self.visible.shape[0], 1, 1)) % choices


class Augmentation(ABC):
    """A random change of training images, each image for itself: a frozen dataclass that maps positions.

    Examples
    --------
    One of your own, which turns images upside down with probability 1/2:

    >>> @dataclass(frozen=True)
    ... class VerticalFlip(Augmentation):
    ...     def sources(self, key, grid):
    ...         flipped, last = grid.draw(key, 2), grid.size[0] - 1
    ...         return grid._replace(rows=flipped * (last - grid.rows) + (1 - flipped) * grid.rows)
    """

    @abstractmethod
    def sources(self, key: Array, grid: Grid) -> Grid:
        """Where the pixels at the positions of ``grid`` come from, and which of them are black; ``key`` is its own.

        Array operations alone, so that the step can be compiled. Positions outside of the image are allowed if
        ``visible`` is False there, and come in from augmentations that follow.
        """

    def check_fits(self, input_shape: Sequence[int]) -> None:
        """Raise InputError unless inputs are images (H, W, C), and something is left of each."""
        if len(input_shape) != 3:
            raise InputError(
                f"{type(self).__name__}: expected images (H, W, C), got inputs of shape {tuple(input_shape)}. "
                "Leave the augmentation out."
            )


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Extends an image by ``padding`` black pixels on each side, and cuts its own size out of that at a random place.

    Raises
    ------
    InputError
        Unless padding is an integer from 1 to 2^20.

    References
    ----------
    Krizhevsky et al., NIPS 2012, section 4.1; with padding: He et al., CVPR 2016, section 4.2.
    """

    padding: int

    def __post_init__(self) -> None:
        _check_size("RandomCrop", "padding", self.padding)

    def sources(self, key: Array, grid: Grid) -> Grid:
        """Positions move by the same random distance of at most ``padding`` in a whole image."""
        (height, width), places = grid.size, 2 * self.padding + 1
        rows = grid.rows + grid.draw(fold_in(key, 3), places) - self.padding
        columns = grid.columns + grid.draw(fold_in(key, 4), places) - self.padding
        is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return Grid(rows, columns, grid.visible & is_inside, grid.size)

    def check_fits(self, input_shape: Sequence[int]) -> None:
        """Raise InputError unless inputs are images (H, W, C), and something is left of each."""
        super().check_fits(input_shape)
        _check_below_side("RandomCrop", "padding", self.padding, input_shape)


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Mirrors an image left to right with probability 1/2.

    References
    ----------
    Krizhevsky et al., NIPS 2012, section 4.1.
    """

    def sources(self, key: Array, grid: Grid) -> Grid:
        """Column j comes from column W - 1 - j in mirrored images."""
        mirrored, last = grid.draw(fold_in(key, 2), 2), grid.size[1] - 1
        return grid._replace(columns=mirrored * (last - grid.columns) + (1 - mirrored) * grid.columns)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Blackens a square of ``size`` x ``size`` pixels around a random pixel (less of it at the border).

    Raises
    ------
    InputError
        Unless size is an integer from 1 to 2^20.

    References
    ----------
    DeVries and Taylor, arXiv:1708.04552.
    """

    size: int

    def __post_init__(self) -> None:
        _check_size("Cutout", "size", self.size)

    def sources(self, key: Array, grid: Grid) -> Grid:
        """Positions stay; those in the square are black."""
        centres = (grid.draw(fold_in(key, number), side) for number, side in enumerate(grid.size))
        rows, columns = (
            self._is_within(positions, centre)
            for positions, centre in zip((grid.rows, grid.columns), centres, strict=True)
        )
        return grid._replace(visible=grid.visible & ~(rows & columns))

    def check_fits(self, input_shape: Sequence[int]) -> None:
        """Raise InputError unless inputs are images (H, W, C), and something is left of each."""
        super().check_fits(input_shape)
        _check_below_side("Cutout", "size", self.size, input_shape)

    def _is_within(self, positions: Array, centres: Array) -> Array:
        starts = centres - self.size // 2
        return (positions >= starts) & (positions < starts + self.size)


def augment(augmentations: Sequence[Augmentation], key: Array, images: Array) -> Array:
    """Images (N, H, W, C) with all augmentations applied in order, of the same dtype.

    A function of the key: the same key gives the same images on every backend. The last augmentation says first where
    its pixels come from.
    """
    own = _own_numbers(augmentations)
    module, augmented = table.call("augment", images, augmentations, own, key)
    if module:
        return augmented
    xp, (count, height, width, channels) = array_namespace(images), images.shape
    grid = _identity(images)
    for augmentation, number in reversed(list(zip(augmentations, own, strict=True))):
        grid = augmentation.sources(key if number < 0 else fold_in(key, number), grid)
    numbers = xp.arange(count, dtype=xp.int32, device=device(images))[:, None, None]
    # Pixels from outside are read from anywhere inside, and then made black.
    sources = (numbers * height + grid.rows % height) * width + grid.columns % width
    pixels = xp.take(xp.reshape(images, (-1, channels)), xp.reshape(sources, (-1,)), axis=0)
    return xp.reshape(pixels, images.shape) * xp.astype(grid.visible, images.dtype)[..., None]


def check_fits(augmentations: Sequence[Augmentation], input_shape: Sequence[int]) -> None:
    """Raise InputError unless all are augmentations, inputs are images, and something is left of every image."""
    for augmentation in augmentations:
        if not isinstance(augmentation, Augmentation):
            raise InputError(
                f"Augmentation: expected augmentations, such as [RandomCrop(4), HorizontalFlip()], got "
                f"{augmentation!r:.80}. Pass instances such as HorizontalFlip()."
            )
        augmentation.check_fits(input_shape)


def _own_numbers(augmentations: Sequence[Augmentation]) -> list[int]:
    """Below 0, for the key itself, for the first of each kind here, which fold it apart; others fold theirs from it."""
    kinds = [type(augmentation) for augmentation in augmentations]
    known = (RandomCrop, HorizontalFlip, Cutout)
    return [
        -1 if kind in known and kind not in kinds[:position] else _OTHERS + position
        for position, kind in enumerate(kinds)
    ]


def _identity(images: Array) -> Grid:
    """Every pixel comes from where it is."""
    xp, (count, height, width, _) = array_namespace(images), images.shape
    rows, columns = (xp.arange(length, dtype=xp.int32, device=device(images)) for length in (height, width))
    visible = xp.ones((count, height, width), dtype=xp.bool, device=device(images))
    return Grid(rows[None, :, None], columns[None, None, :], visible, (height, width))


def _check_size(where: str, name: str, value: int) -> None:
    if not is_whole(value) or not 1 <= value <= _MOST_PIXELS:
        raise InputError(
            f"{where}: expected {name} to be an integer from 1 to {_MOST_PIXELS}, got {value!r}. Change {name}."
        )


def _check_below_side(where: str, name: str, value: int, input_shape: Sequence[int]) -> None:
    side = min(input_shape[:2])
    if value >= side:
        raise InputError(
            f"{where}: expected {name} below {side}, the smaller side of the images, got {value}. Change {name}."
        )
