"""Convolutions of one group made into those of several: channels and filters are cut into parts, results joined."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from xpnet.backend import Array
from xpnet.kernels import table
from xpnet.kernels.windows import join, split
from xpnet.shapes import Window


def groupwise(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """``conv2d`` of any number of groups from that of one."""

    @wraps(kernel)
    def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
        biases = [None] * groups if bias is None else split(bias, 0, groups)
        parts = zip(split(x, 3, groups), split(weight, 0, groups), biases, strict=True)
        return join([kernel(*part, window) for part in parts], 3)

    return conv2d


def gradients_groupwise(
    kernel: Callable[..., tuple[Array | None, Array]],
) -> Callable[..., tuple[Array | None, Array, Array | None]]:
    """``conv2d_backward`` of any number of groups from that of one, which leaves the bias's gradient out."""

    @wraps(kernel)
    def conv2d_backward(
        x: Array,
        dy: Array,
        weight: Array,
        window: Window,
        groups: int = 1,
        *,
        need_dx: bool = True,
        need_db: bool = True,
    ) -> tuple[Array | None, Array, Array | None]:
        parts = zip(split(x, 3, groups), split(dy, 3, groups), split(weight, 0, groups), strict=True)
        dx, dw = zip(*(kernel(*part, window, need_dx=need_dx) for part in parts), strict=True)
        db = table.call("channel_sum", dy)[1] if need_db else None
        return join(list(dx), 3) if need_dx else None, join(list(dw), 0), db

    return conv2d_backward
