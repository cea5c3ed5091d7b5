"""Window arithmetic and shape checks: one formula, one place."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

from xpnet.errors import InputError, short

Pair = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window that slides over the two image axes, as convolutions and pools use it.

    The window has ``kernel`` = (kh, kw) taps ``dilation`` pixels apart and moves by ``stride``; the image is first
    extended by ``padding`` = ((top, bottom), (left, right)). Along one axis of length L it fits

        L' = floor((L + before + after - dilation*(kernel - 1) - 1) / stride) + 1   times.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, sections 2.4
    and 5.1.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Height and width that the window spans: dilation*(kernel - 1) + 1."""
        return extent(self.kernel[0], self.dilation[0]), extent(self.kernel[1], self.dilation[1])

    def output_size(self, height: int, width: int) -> Pair:
        """Positions (H', W') of the window in an image; below 1 where it does not fit."""
        (top, bottom), (left, right) = self.padding
        rows = (height + top + bottom - extent(self.kernel[0], self.dilation[0])) // self.stride[0] + 1
        columns = (width + left + right - extent(self.kernel[1], self.dilation[1])) // self.stride[1] + 1
        return rows, columns


def extent(kernel: int, dilation: int) -> int:
    """Pixels that a one-dimensional window spans."""
    return dilation * (kernel - 1) + 1


def make_window(where: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Window:
    """Build a window from a layer's settings: numbers, pairs (vertical, horizontal), and for padding "same"/"valid".

    "same" keeps the image's size and, as in PyTorch, is defined for stride 1 only; an odd amount of padding puts the
    extra row or column at the bottom or right.

    Raises InputError for anything that is not a number in range.
    """
    kernel = as_pair(where, "kernel_size", kernel_size, minimum=1)
    stride = as_pair(where, "stride", stride, minimum=1)
    dilation = as_pair(where, "dilation", dilation, minimum=1)
    return Window(kernel, stride, _padding(where, padding, kernel, stride, dilation), dilation)


def _padding(where: str, padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if not isinstance(padding, str):
        vertical, horizontal = as_pair(where, "padding", padding, minimum=0)
        return (vertical, vertical), (horizontal, horizontal)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise InputError(
                f"{where}: padding 'same' is defined for stride 1, got stride {stride}. Pass the padding as a number."
            )
        total = [extent(k, d) - 1 for k, d in zip(kernel, dilation, strict=True)]
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    raise InputError(
        f"{where}: expected padding to be a number, a pair, 'same' or 'valid', got {short(padding)}. Choose one."
    )


def as_pair(where: str, what: str, value: Any, minimum: int) -> Pair:
    """One integer for both axes, or two: (vertical, horizontal)."""
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(is_whole(number) and number >= minimum for number in pair):
        raise InputError(
            f"{where}: expected {what} to be an integer of at least {minimum} or a pair of them, got {short(value)}. "
            f"Change {what}."
        )
    return int(pair[0]), int(pair[1])


def channels_last_advice(shape: Shape, wanted: Shape) -> str:
    """What to do where images (C, H, W) came and (H, W, C) are wanted; nothing where it is something else."""
    is_moved = len(shape) == len(wanted) == 3 and shape != wanted and (*shape[1:], shape[0]) == tuple(wanted)
    return "Put the channels last: numpy.moveaxis(x, 1, -1)." if is_moved else ""


def is_whole(value: Any) -> bool:
    """Whether the value is an integer, NumPy's too, and not a bool, which Python counts as one."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_positive(where: str, what: str, value: Any) -> int:
    """A count of at least 1, or an InputError."""
    if not is_whole(value) or value < 1:
        raise InputError(f"{where}: expected {what} to be an integer of at least 1, got {short(value)}. Change {what}.")
    return int(value)
