"""Max-pooling of images (N, H, W, C) by windows of 2 x 2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.grading.exercises import Exercise, LayerGradient, Mistake, Task


def _windows(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, H/2, W/2, C, 4), each window's entries in row-major order."""
    images, height, width, channels = x.shape
    blocks = x.reshape(images, height // 2, 2, width // 2, 2, channels)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(images, height // 2, width // 2, channels, 4)


def _from_windows(windows: np.ndarray) -> np.ndarray:
    images, height, width, channels, _ = windows.shape
    blocks = windows.reshape(images, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(images, 2 * height, 2 * width, channels)


def _is_winner(x: np.ndarray) -> np.ndarray:
    return np.arange(4) == _windows(x).argmax(axis=-1)[..., None]


def _to_winner(windows: np.ndarray, dy: np.ndarray, order: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
    """The dx for the winners of these windows, for places that are counted in this order."""
    return _from_windows((np.array(order) == windows.argmax(axis=-1)[..., None]) * dy[..., None])


def _is_tied(x: np.ndarray) -> np.ndarray:
    windows = _windows(x)
    return windows == windows.max(axis=-1, keepdims=True)


def _cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Distinct numbers; small integers, with ties; and negative numbers, whose maximum is not that of their sizes."""
    return [
        {"x": rng.normal(size=(2, 4, 4, 2))},
        {"x": rng.integers(0, 3, (3, 4, 6, 2)).astype("float64")},
        {"x": -rng.uniform(1, 2, (1, 6, 2, 3))},
    ]


def _backward_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{**case, "dy": rng.normal(size=case["x"][:, ::2, ::2].shape)} for case in _cases(rng)]


_BY_ONE = "has its windows at i:i+2, j:j+2: they begin at 2 i, 2 j"


def _near_windows(x: np.ndarray) -> np.ndarray:
    """As many windows as of right, each begun only 1 after the last."""
    windows = sliding_window_view(x, (2, 2), axis=(1, 2))[:, : x.shape[1] // 2, : x.shape[2] // 2]
    return windows.reshape(*windows.shape[:4], 4)


_FORWARD = Task(
    "max_pool_forward",
    ("y",),
    lambda x: _windows(x).max(axis=-1),
    _cases,
    (
        Mistake("y", "is the mean of each window: take the maximum", lambda x: _windows(x).mean(axis=-1)),
        Mistake("y", "is the minimum of each window: take the maximum", lambda x: _windows(x).min(axis=-1)),
        Mistake("y", "is the sum of each window: take the maximum", lambda x: _windows(x).sum(axis=-1)),
        Mistake("y", "is the upper left entry of each window: compare all four", lambda x: x[:, ::2, ::2]),
        Mistake("y", "is the lower right entry of each window: compare all four", lambda x: x[:, 1::2, 1::2]),
        Mistake(
            "y", "is the largest size |x|: take the maximum of x itself", lambda x: np.abs(_windows(x)).max(axis=-1)
        ),
        Mistake(
            "y",
            "starts the maximum at 0: negative numbers can win too",
            lambda x: np.maximum(_windows(x).max(axis=-1), 0),
        ),
        Mistake(
            "y",
            "moves the window by 1: move it by 2",
            lambda x: sliding_window_view(x, (2, 2), axis=(1, 2)).max(axis=(-2, -1)),
        ),
        Mistake("y", _BY_ONE, lambda x: _near_windows(x).max(axis=-1)),
        Mistake(
            "y",
            "is a maximum over the channels too: each channel has its own",
            lambda x: np.broadcast_to(_windows(x).max(axis=(-2, -1))[..., None], x[:, ::2, ::2].shape),
        ),
        Mistake("y", "loses the channels: each channel has its own maximum", lambda x: _windows(x).max(axis=(-2, -1))),
        Mistake(
            "y",
            "compares the rows of a window alone: compare all four entries",
            lambda x: np.maximum(x[:, ::2], x[:, 1::2])[:, :, ::2],
        ),
        Mistake(
            "y",
            "compares the columns of a window alone: compare all four entries",
            lambda x: np.maximum(x[:, :, ::2], x[:, :, 1::2])[:, ::2],
        ),
        Mistake(
            "y",
            "is a maximum of the halves of the image: the four entries of a window are neighbours",
            lambda x: x.reshape(len(x), 2, x.shape[1] // 2, 2, x.shape[2] // 2, -1).max(axis=(1, 3)),
        ),
        Mistake(
            "y",
            "is a maximum over the images too",
            lambda x: np.repeat(_windows(x).max(axis=-1).max(axis=0, keepdims=True), len(x), axis=0),
        ),
        Mistake("y", "is the place of the maximum (argmax), not the maximum", lambda x: _windows(x).argmax(axis=-1)),
    ),
)


def _shared(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    tied = _is_tied(x)
    return _from_windows(tied * dy[..., None] / tied.sum(axis=-1, keepdims=True))


def _repeat(dy: np.ndarray) -> np.ndarray:
    return dy.repeat(2, axis=1).repeat(2, axis=2)


_BACKWARD = Task(
    "max_pool_backward",
    ("dx",),
    lambda x, dy: _from_windows(_is_winner(x) * dy[..., None]),
    _backward_cases,
    (
        Mistake(
            "dx",
            "gives dy to every tie: only the first of equal entries wins",
            lambda x, dy: _from_windows(_is_tied(x) * dy[..., None]),
        ),
        Mistake("dx", "shares dy among ties: the first of equal entries takes all", _shared),
        Mistake(
            "dx",
            "gives dy to the last of equal entries: the first wins",
            lambda x, dy: _from_windows(
                (np.arange(4) == 3 - _windows(x)[..., ::-1].argmax(axis=-1)[..., None]) * dy[..., None]
            ),
        ),
        Mistake(
            "dx", "gives dy to the first of equal entries by columns: go by rows", lambda x, dy: _by_columns(x, dy)
        ),
        Mistake(
            "dx",
            "takes the place of the winner by columns: argmax of a window's row-major entries is 2 row + column",
            lambda x, dy: _to_winner(_windows(x), dy, (0, 2, 1, 3)),
        ),
        Mistake(
            "dx",
            "takes the winner of channel 0 for all channels: each channel has its own",
            lambda x, dy: _to_winner(np.broadcast_to(_windows(x)[:, :, :, :1], (*dy.shape, 4)), dy),
        ),
        Mistake(
            "dx",
            "gives the dy of channel 0 to all channels: each channel has its own",
            lambda x, dy: _to_winner(_windows(x), np.broadcast_to(dy[..., :1], dy.shape)),
        ),
        Mistake("dx", _BY_ONE, lambda x, dy: _to_winner(_near_windows(x), dy)),
        Mistake("dx", _BY_ONE, lambda x, dy: _at_near_windows(x, dy, add=True)),
        Mistake("dx", _BY_ONE, lambda x, dy: _at_near_windows(x, dy, add=False)),
        Mistake("dx", "gives dy to all four entries: only the winner gets it", lambda x, dy: _repeat(dy)),
        Mistake("dx", "shares dy among all four entries, as mean-pooling does", lambda x, dy: _repeat(dy) / 4),
        Mistake(
            "dx",
            "gives dy to the smallest entry: it goes to the largest",
            lambda x, dy: _from_windows((np.arange(4) == _windows(x).argmin(axis=-1)[..., None]) * dy[..., None]),
        ),
        Mistake(
            "dx",
            "gives dy to the upper left entry: it goes to the winner",
            lambda x, dy: _from_windows((np.arange(4) == 0) * dy[..., None]),
        ),
        Mistake("dx", "lacks dy: it is 1 at the winners", lambda x, dy: _from_windows(_is_winner(x) * 1.0)),
        Mistake("dx", "lacks dy: it is 1 at all winners, ties too", lambda x, dy: _from_windows(_is_tied(x) * 1.0)),
        Mistake(
            "dx",
            "multiplies dy by the maximum: the derivative of a maximum is 1",
            lambda x, dy: _from_windows(_is_winner(x) * _windows(x) * dy[..., None]),
        ),
        Mistake("dx", "holds the maxima in place of dy", lambda x, dy: _from_windows(_is_winner(x) * _windows(x))),
        Mistake(
            "dx",
            "is 0 at the winners and dy elsewhere: it is the other way round",
            lambda x, dy: _from_windows(~_is_winner(x) * dy[..., None]),
        ),
        Mistake("dx", "has the shape of dy: it has that of x", lambda x, dy: dy),
    ),
)


def _at_near_windows(x: np.ndarray, dy: np.ndarray, *, add: bool) -> np.ndarray:
    dx = np.zeros_like(x)
    parts = (np.arange(4) == _near_windows(x).argmax(axis=-1)[..., None]) * dy[..., None]
    for i, j in np.ndindex(dy.shape[1:3]):
        for place in range(4):
            at = (slice(None), i + place // 2, j + place % 2)
            dx[at] = parts[:, i, j, :, place] + (dx[at] if add else 0)
    return dx


def _by_columns(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    order = np.array([0, 2, 1, 3])
    winner = order[_windows(x)[..., order].argmax(axis=-1)]
    return _from_windows((np.arange(4) == winner[..., None]) * dy[..., None])


MAX_POOL = Exercise("max-pool", (_FORWARD, _BACKWARD), LayerGradient((4, 6, 2), (2, 3, 2), {}))
