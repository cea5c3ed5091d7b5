"""A convolution of images (N, H, W, C) with filters (O, k, k, C), without padding and with stride 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.grading.exercises import Exercise, LayerGradient, Mistake, Task


def _correlate(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """y[n,i,j,o] = sum_{u,v,c} W[o,u,v,c] x[n,i+u,j+v,c]."""
    windows = sliding_window_view(x, weight.shape[1:3], axis=(1, 2))  # (N, H', W', C, k, k)
    return np.einsum("nijcuv,ouvc->nijo", windows, weight, optimize=True)


def _padded(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    height, width = (size - 1 for size in weight.shape[1:3])
    return np.pad(x, ((0, 0), (height, height), (width, width), (0, 0)))


def _flipped(weight: np.ndarray) -> np.ndarray:
    return weight[:, ::-1, ::-1]


_LAST = {"row and column": (1, 2), "row": (1,), "column": (2,)}  # what loops that end too early leave out


def _without_last(y: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    y = y.copy()
    for axis in axes:
        np.moveaxis(y, axis, 0)[-1] = 0
    return y


def _dx(weight: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The full correlation of dy with flipped kernels, whose inputs and outputs have changed places."""
    return _correlate(_padded(dy, weight), _flipped(weight).transpose(3, 1, 2, 0))


def _dw(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    windows = sliding_window_view(x, dy.shape[1:3], axis=(1, 2))  # (N, k, k, C, H', W')
    return np.einsum("nuvcij,nijo->ouvc", windows, dy, optimize=True)


def _last_positions(weight: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Loops that set each window's part of dx instead of adding it."""
    height, width = weight.shape[1:3]
    dx = np.zeros((len(dy), dy.shape[1] + height - 1, dy.shape[2] + width - 1, weight.shape[3]))
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            dx[:, i : i + height, j : j + width] = np.einsum("no,ouvc->nuvc", dy[:, i, j], weight)
    return dx


def _cases(rng: np.random.Generator, *, backward: bool) -> list[dict[str, Any]]:
    cases = []
    for images, height, width, channels, filters, kernel in (
        (2, 4, 4, 2, 2, 2),
        (3, 5, 4, 2, 3, 3),
        (1, 4, 6, 3, 2, 3),
    ):
        x = rng.normal(size=(images, height, width, channels))
        weight = rng.normal(size=(filters, kernel, kernel, channels))
        out = (images, height - kernel + 1, width - kernel + 1, filters)
        last = {"dy": rng.normal(size=out)} if backward else {"b": rng.normal(size=filters)}
        cases.append({"x": x, "W": weight, **last})
    return cases


_FORWARD = Task(
    "conv_forward",
    ("y",),
    lambda x, W, b: _correlate(x, W) + b,
    lambda rng: _cases(rng, backward=False),
    (
        Mistake("y", "lacks the bias b", lambda x, W, b: _correlate(x, W)),
        Mistake("y", "has b with the wrong sign", lambda x, W, b: _correlate(x, W) - b),
        Mistake(
            "y",
            "has b once for each entry of the kernel: add it once",
            lambda x, W, b: _correlate(x, W) + b * W[0].size,
        ),
        Mistake("y", "has b once for each channel: add it once", lambda x, W, b: _correlate(x, W) + b * W.shape[3]),
        Mistake("y", "has the sum of b in place of b", lambda x, W, b: _correlate(x, W) + b.sum()),
        Mistake(
            "y", "flips the kernel: here a convolution is a correlation", lambda x, W, b: _correlate(x, _flipped(W)) + b
        ),
        Mistake(
            "y",
            "transposes the kernel: u goes with rows, v with columns",
            lambda x, W, b: _correlate(x, W.swapaxes(1, 2)) + b,
        ),
        Mistake(
            "y", "sees the first channel alone: sum over all", lambda x, W, b: _correlate(x[..., :1], W[..., :1]) + b
        ),
        Mistake(
            "y", "sees the last channel alone: sum over all", lambda x, W, b: _correlate(x[..., -1:], W[..., -1:]) + b
        ),
        Mistake("y", "is a mean over the channels: it is their sum", lambda x, W, b: _correlate(x, W) / W.shape[3] + b),
        Mistake("y", "is a mean over the window: it is a sum", lambda x, W, b: _correlate(x, W) / W[0].size + b),
        Mistake(
            "y",
            "uses the first filter for all outputs",
            lambda x, W, b: np.repeat(_correlate(x, W[:1]), len(W), axis=3) + b,
        ),
        Mistake(
            "y",
            "lacks the last row and column: there are H - k + 1 positions",
            lambda x, W, b: (_correlate(x, W) + b)[:, :-1, :-1],
        ),
        *(
            Mistake(
                "y",
                f"is 0 in the last {part}: there are H - k + 1 positions",
                lambda x, W, b, axes=axes: _without_last(_correlate(x, W) + b, axes),
            )
            for part, axes in _LAST.items()
        ),
        Mistake(
            "y",
            "is padded: without padding there are H - k + 1 positions",
            lambda x, W, b: _correlate(_padded(x, W), W) + b,
        ),
        Mistake(
            "y",
            "has the filters before the positions: y is (N, H', W', O)",
            lambda x, W, b: np.moveaxis(_correlate(x, W) + b, 3, 1),
        ),
        Mistake(
            "y",
            "is computed from the first image alone",
            lambda x, W, b: np.repeat(_correlate(x[:1], W), len(x), axis=0) + b,
        ),
    ),
    in_batches=True,
)


_BACKWARD = Task(
    "conv_backward",
    ("dx", "dW", "db"),
    lambda x, W, dy: (_dx(W, dy), _dw(x, dy), dy.sum(axis=(0, 1, 2))),
    lambda rng: _cases(rng, backward=True),
    (
        Mistake(
            "dx",
            "lacks the flip of the kernel: entry u, v of W belongs to x[i+u, j+v]",
            lambda x, W, dy: _dx(_flipped(W), dy),
        ),
        Mistake("dx", "is overwritten where windows overlap: add up (+=)", lambda x, W, dy: _last_positions(W, dy)),
        Mistake(
            "dx",
            "has a transposed kernel: u goes with rows, v with columns",
            lambda x, W, dy: _dx(W.swapaxes(1, 2), dy),
        ),
        Mistake("dx", "has the part of the first filter alone: sum over all", lambda x, W, dy: _dx(W[:1], dy[..., :1])),
        Mistake(
            "dx", "has the part of the last filter alone: sum over all", lambda x, W, dy: _dx(W[-1:], dy[..., -1:])
        ),
        Mistake("dx", "lacks W: each dy goes back through the kernel", lambda x, W, dy: _dx(np.ones_like(W), dy)),
        *(
            Mistake(
                "dx",
                f"lacks the last {part} of dy",
                lambda x, W, dy, axes=axes: _dx(W, _without_last(dy, axes)),
            )
            for part, axes in _LAST.items()
        ),
        Mistake(
            "dx", "is that of the first image, for all", lambda x, W, dy: np.repeat(_dx(W, dy[:1]), len(dy), axis=0)
        ),
        Mistake("dW", "is flipped: dW[u, v] goes with x[i+u, j+v]", lambda x, W, dy: _flipped(_dw(x, dy))),
        Mistake("dW", "is transposed: u goes with rows, v with columns", lambda x, W, dy: _dw(x, dy).swapaxes(1, 2)),
        Mistake(
            "dW",
            "is that of the last position alone: add up (+=)",
            lambda x, W, dy: np.einsum("nuvc,no->ouvc", x[:, -W.shape[1] :, -W.shape[2] :], dy[:, -1, -1]),
        ),
        Mistake("dW", "is that of the last image alone: add up (+=)", lambda x, W, dy: _dw(x[-1:], dy[-1:])),
        Mistake("dW", "is that of the first image alone: add up", lambda x, W, dy: _dw(x[:1], dy[:1])),
        Mistake("dW", "lacks x: each dy is multiplied by its window", lambda x, W, dy: _dw(np.ones_like(x), dy)),
        Mistake("dW", "lacks dy: each window is multiplied by it", lambda x, W, dy: _dw(x, np.ones_like(dy))),
        *(
            Mistake(
                "dW",
                f"lacks the last {part} of dy",
                lambda x, W, dy, axes=axes: _dw(x, _without_last(dy, axes)),
            )
            for part, axes in _LAST.items()
        ),
        Mistake(
            "dW",
            "has its axes in the order of (k, k, C, O): W is (O, k, k, C)",
            lambda x, W, dy: np.moveaxis(_dw(x, dy), 0, 3),
        ),
        Mistake(
            "dW", "is averaged over the positions: it is their sum", lambda x, W, dy: _dw(x, dy) / dy[0, :, :, 0].size
        ),
        Mistake("db", "is not summed over the images", lambda x, W, dy: dy.sum(axis=(1, 2))),
        Mistake("db", "is not summed over the positions", lambda x, W, dy: dy.sum(axis=0)),
        Mistake("db", "is summed over all axes: each filter has its own", lambda x, W, dy: dy.sum()),
        Mistake(
            "db", "is averaged over images and positions: it is their sum", lambda x, W, dy: dy.mean(axis=(0, 1, 2))
        ),
        Mistake(
            "db", "is averaged over the positions: it is their sum", lambda x, W, dy: dy.mean(axis=(1, 2)).sum(axis=0)
        ),
        Mistake("db", "is that of the last position alone: add up (+=)", lambda x, W, dy: dy[:, -1, -1].sum(axis=0)),
        Mistake("db", "is that of the last image alone: add up (+=)", lambda x, W, dy: dy[-1].sum(axis=(0, 1))),
        Mistake(
            "db",
            "is summed over the wrong axes: keep the last, of the filters",
            lambda x, W, dy: dy.sum(axis=(1, 2, 3)),
        ),
        *(
            Mistake(
                "db",
                f"lacks the last {part} of dy",
                lambda x, W, dy, axes=axes: _without_last(dy, axes).sum(axis=(0, 1, 2)),
            )
            for part, axes in _LAST.items()
        ),
    ),
    in_batches=True,
)

CONVOLUTION = Exercise(
    "convolution",
    (_FORWARD, _BACKWARD),
    LayerGradient((4, 5, 2), (3, 4, 3), {"W": (3, 2, 2, 2), "b": (3,)}),
)
