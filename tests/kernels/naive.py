"""The kernels' definitions as loops over output pixels and taps, on NumPy arrays."""

from collections.abc import Iterator

import numpy as np

from xpnet.shapes import Pair, Window


def conv2d(x: np.ndarray, weight: np.ndarray, window: Window, groups: int = 1) -> np.ndarray:
    """y[n,i,j,o] = sum_{u,v,c} w[o,u,v,c] * x_pad[n, s*i + d*u, s*j + d*v, c], where o and c are of one group."""
    x_pad = _pad(x, window)
    y = np.zeros((x.shape[0], *window.output_size(*x.shape[1:3]), weight.shape[0]))
    for (i, j), (u, v), (row, column) in _positions(window, x.shape[1:3]):
        for o, c in _groups(weight.shape[0], x.shape[3], groups):
            y[:, i, j, o] += x_pad[:, row, column, c] @ weight[o, u, v, :].T
    return y


def conv2d_input_gradient(
    dy: np.ndarray, weight: np.ndarray, window: Window, image_size: Pair, groups: int = 1
) -> np.ndarray:
    """Each product of the forward pass hands dy * w back to the pixel it took."""
    dx = np.zeros((dy.shape[0], *image_size, weight.shape[3] * groups))
    dx_pad = _pad(dx, window)
    for (i, j), (u, v), (row, column) in _positions(window, image_size):
        for o, c in _groups(dy.shape[3], dx.shape[3], groups):
            dx_pad[:, row, column, c] += dy[:, i, j, o] @ weight[o, u, v, :]
    return _crop(dx_pad, window, image_size)


def conv2d_weight_gradient(x: np.ndarray, dy: np.ndarray, window: Window, groups: int = 1) -> np.ndarray:
    """Each product of the forward pass hands dy * x back to the tap it took."""
    x_pad = _pad(x, window)
    dw = np.zeros((dy.shape[3], *window.kernel, x.shape[3] // groups))
    for (i, j), (u, v), (row, column) in _positions(window, x.shape[1:3]):
        for o, c in _groups(dy.shape[3], x.shape[3], groups):
            dw[o, u, v, :] += dy[:, i, j, o].T @ x_pad[:, row, column, c]
    return dw


def max_pool2d(x: np.ndarray, dy: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and dx; of equal values the first in row-major order is the winner."""
    x_pad = _pad(x, window, value=-np.inf)
    y, dx_pad = np.zeros_like(dy), np.zeros_like(x_pad)
    (kh, kw), (sh, sw) = window.kernel, window.stride
    for n, i, j, c in np.ndindex(dy.shape):
        values = x_pad[n, i * sh : i * sh + kh, j * sw : j * sw + kw, c]
        row, column = np.unravel_index(np.argmax(values), values.shape)
        y[n, i, j, c] = values[row, column]
        dx_pad[n, i * sh + row, j * sw + column, c] += dy[n, i, j, c]
    return y, _crop(dx_pad, window, x.shape[1:3])


def average_pool2d(x: np.ndarray, dy: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Means, zeros of the padding included, and dx."""
    x_pad = _pad(x, window)
    y, dx_pad, count = np.zeros_like(dy), np.zeros_like(x_pad), np.prod(window.kernel)
    for (i, j), _, (row, column) in _positions(window, x.shape[1:3]):
        y[:, i, j, :] += x_pad[:, row, column, :] / count
        dx_pad[:, row, column, :] += dy[:, i, j, :] / count
    return y, _crop(dx_pad, window, x.shape[1:3])


def _groups(outputs: int, channels: int, groups: int) -> Iterator[tuple[slice, slice]]:
    """The outputs and the channels of each group."""
    for group in range(groups):
        yield tuple(slice(group * count // groups, (group + 1) * count // groups) for count in (outputs, channels))


def _positions(window: Window, image_size: tuple[int, ...]) -> Iterator[tuple[Pair, Pair, Pair]]:
    """Every output pixel with every tap, and the padded pixel that lies under it."""
    (sh, sw), (dh, dw) = window.stride, window.dilation
    rows, columns = window.output_size(*image_size)
    for i, j, u, v in np.ndindex(rows, columns, *window.kernel):
        yield (i, j), (u, v), (i * sh + u * dh, j * sw + v * dw)


def _pad(x: np.ndarray, window: Window, value: float = 0.0) -> np.ndarray:
    return np.pad(x, ((0, 0), *window.padding, (0, 0)), constant_values=value)


def _crop(x_pad: np.ndarray, window: Window, image_size: tuple[int, ...]) -> np.ndarray:
    (top, _), (left, _) = window.padding
    return x_pad[:, top : top + image_size[0], left : left + image_size[1], :]
