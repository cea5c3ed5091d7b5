"""Where the batches of a training come from: the device's memory, the host's, files, or an iterable."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet import kernels
from xpnet.backend import Array, Backend, array_namespace, backend_of, check_real_numbers, is_readable, to_numpy
from xpnet.datasets.arrays import (
    as_array,
    as_inputs,
    check_counts,
    check_finite,
    check_labels,
    check_range,
    check_together,
    check_values,
)
from xpnet.datasets.batches import Sampler
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.rows import HostRows, is_large, row_numbers
from xpnet.errors import InputError
from xpnet.shapes import channels_last_advice
from xpnet.training.weights import check_sample_weights

_BATCHES_AHEAD = 4
_SAMPLE, _SAMPLE_BATCH = 1000, 20
_BLOCK, _DEVICE_BLOCK = 1 << 16, 1 << 24  # values of which statistics are taken at once


class Batch(NamedTuple):
    """Examples of one step on the device: inputs x, targets y, and their weights (n,) where they have any."""

    x: Array
    y: Array
    weights: Array | None = None


class Feed(Protocol):
    """What gives a batch for each step."""

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0."""
        ...


class DeviceFeed:
    """Batches gathered where all examples lie: on the network's device, to which host arrays are moved once.

    Inputs are given as ``dtype``, if there is one, where that costs nothing.
    """

    def __init__(
        self,
        backend: Backend,
        inputs: Array,
        targets: Array,
        weights: Array | None,
        sampler: Sampler,
        dtype: str | None = None,
    ) -> None:
        self._backend, self._sampler = backend, sampler
        self._inputs, self._targets = backend.asarray(inputs), backend.asarray(targets)
        self._weights = None if weights is None else backend.asarray(weights)
        self._dtype = dtype and backend.dtype(dtype)

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0."""
        indices = self._backend.asarray(self._sampler.batch(step))
        x, y = kernels.take_examples(self._inputs, self._targets, indices, self._dtype)
        return Batch(x, y, None if self._weights is None else self._backend.xp.take(self._weights, indices, axis=0))


class HostFeed:
    """Batches gathered on the host, from memory maps or arrays too large for the device, and moved one at a time.

    Raises InputError for NaN, infinity, and numbers that ``dtype`` cannot hold.
    """

    def __init__(
        self,
        backend: Backend,
        inputs: Any,
        targets: Array,
        weights: Array | None,
        sampler: Sampler,
        dtype: str | None = None,
    ) -> None:
        self._backend, self._sampler, self._dtype = backend, sampler, dtype
        self._inputs, self._targets = inputs, to_numpy(targets)
        self._weights = None if weights is None else to_numpy(weights)

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0."""
        indices = self._sampler.batch(step)
        values = (self._rows(step), self._targets[indices], None if self._weights is None else self._weights[indices])
        return _moved(self._backend, *values)

    def _rows(self, step: int) -> np.ndarray:
        indices = self._sampler.batch(step)
        rows = np.asarray(self._inputs[indices], self._inputs.dtype.newbyteorder("="))
        numbers = row_numbers(self._inputs, indices)
        check_finite("Training inputs", rows, numbers)
        if self._dtype:
            check_range("Training inputs", rows, self._dtype, numbers)
        return rows


class FileFeed(HostFeed):
    """Batches decoded from files by threads, a few batches ahead of the training.

    Which images a batch holds is the sampler's to say, so the threads' timing changes nothing but the waiting.
    """

    def __init__(
        self, backend: Backend, inputs: ImageFiles, targets: Array, weights: Array | None, sampler: Sampler
    ) -> None:
        super().__init__(backend, inputs, targets, weights, sampler)
        self._step = 0
        self._coming: deque[Callable[[], np.ndarray]] = deque()

    def _rows(self, step: int) -> np.ndarray:
        if step != self._step:
            self._coming.clear()
        for ahead in range(step + len(self._coming), step + 1 + _BATCHES_AHEAD):
            self._coming.append(self._inputs.start(self._sampler.batch(ahead)))
        self._step = step + 1
        return self._coming.popleft()()


class IterableFeed:
    """Batches from an iterable of (x, y) or (x, y, weights), for what does not fit into memory.

    It is iterated over again when it ends, if it can be, as a list or a data loader can. A step beyond the next one is
    reached by leaving out batches, so a run can be resumed if the iterable gives the same batches in every process.
    ``input_shape`` and ``dtype`` are those of the network, ``classes`` the number of its classes if targets are class
    numbers.

    Raises InputError for what is not iterable, and, with the step, for an end that comes early, for batches of another
    form or shape, and, where they can be read without waiting for a device, for targets out of range, NaN, infinity and
    numbers that ``dtype`` cannot hold.
    """

    def __init__(
        self,
        backend: Backend,
        batches: Iterable[Any],
        input_shape: tuple[int, ...],
        classes: int | None = None,
        dtype: str = "float32",
    ) -> None:
        if not isinstance(batches, Iterable):
            raise InputError(
                f"Batches: expected an iterable of pairs (x, y), got {type(batches).__name__}. "
                "Pass a list or a data loader."
            )
        self._backend, self._batches = backend, batches
        self._input_shape, self._classes, self._dtype = input_shape, classes, dtype
        self._iterator: Iterator[Any] = iter(batches)
        self._last: tuple[int, Any] = (-1, None)  # in one assignment: a step that is interrupted comes again

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0; the last step may be repeated."""
        if step < self._last[0]:
            raise InputError(
                f"Batches: expected step {self._last[0]} or the next, got {step}. Make the iterable of batches again."
            )
        while self._last[0] < step:
            self._last = (self._last[0] + 1, self._next())
        return self._checked(f"Batch {step}", self._last[1])

    def _next(self) -> Any:
        for _ in range(2):
            try:
                return next(self._iterator)
            except StopIteration:
                self._iterator = iter(self._batches)  # a generator is its own iterator, and stays at its end
        raise InputError(
            f"Batches: expected a batch for step {self._last[0] + 2}, got the end of the iterable. Train for fewer "
            "iterations, or pass an iterable that can be restarted, such as a list."
        )

    def _checked(self, where: str, item: Any) -> Batch:
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            form = f"{len(item)} items" if isinstance(item, tuple | list) else type(item).__name__
            raise InputError(f"{where}: expected (x, y) or (x, y, weights), got {form}. Let the iterable yield tuples.")
        x = as_inputs(f"{where}, x", item[0])
        if tuple(x.shape[1:]) != self._input_shape:
            advice = channels_last_advice(tuple(x.shape[1:]), self._input_shape)
            advice = advice or "Change the batches or the network's input_shape."
            raise InputError(
                f"{where}, x: expected inputs of shape {self._input_shape}, got {tuple(x.shape[1:])}. {advice}"
            )
        if is_readable(x):
            check_values(f"{where}, x", x, self._dtype)
        y = self._checked_targets(f"{where}, y", item[1], x)
        weights = item[2] if len(item) == 3 else None
        if weights is not None:
            weights = check_sample_weights(where, weights, x.shape[0], self._dtype)
        return _moved(self._backend, x, y, weights)

    def _checked_targets(self, where: str, values: Any, x: Array) -> Array:
        y = as_array(where, values)
        check_real_numbers(where, y)
        if is_array_api_obj(values):
            check_together(where, y, x)
        check_counts("x", x, where, y)
        xp = array_namespace(y)
        if not xp.isdtype(y.dtype, "integral"):
            if is_readable(y):
                check_values(where, y, self._dtype)
            return y
        if self._classes is not None and y.ndim != 2 and is_readable(y):
            check_labels(where, to_numpy(y), self._classes)
        return xp.astype(y, xp.int32, copy=False)


def _moved(backend: Backend, *arrays: Array | None) -> Batch:
    return Batch(*(None if array is None else backend.asarray(array) for array in arrays))


def stays_on_host(backend: Backend, inputs: Any) -> bool:
    """Whether inputs are moved to the device batch by batch: those in files, memory maps and large arrays of NumPy."""
    is_lazy = isinstance(inputs, ImageFiles | HostRows | np.memmap)
    return is_lazy or (backend.name != "numpy" and is_large(inputs))


def make_feed(
    backend: Backend, inputs: Any, targets: Array, weights: Array | None, sampler: Sampler, dtype: str | None = None
) -> DeviceFeed | HostFeed:
    """The feed that suits where the training inputs are; ``weights`` (N,) are those of the examples, or None.

    The step converts inputs to ``dtype``, unless that is None.
    """
    if isinstance(inputs, ImageFiles):
        return FileFeed(backend, inputs, targets, weights, sampler)
    if stays_on_host(backend, inputs):
        return HostFeed(backend, inputs, targets, weights, sampler, dtype)
    return DeviceFeed(backend, inputs, targets, weights, sampler, dtype)


def input_statistics(inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of inputs (N, ..., C) over all axes but the last, float64 (C,).

        mean = sum_b s_b / n;  std^2 = sum_b (sum (x - m_b)^2 + n_b (m_b - mean)^2) / n

    with s_b the sum of the n_b values in a block b of rows, and m_b = s_b / n_b. Of images in files, memory maps and
    large arrays 1,000 examples are read, evenly spaced.

    Source: Chan, Golub and LeVeque, The American Statistician 37(3), 1983.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at what comes out
        blocks = map(_block_statistics, _blocks(inputs))
        sums, squares, counts = (np.stack(column) for column in zip(*blocks, strict=True))
        counts = counts[:, None]
        mean = sums.sum(axis=0) / counts.sum()
        variance = (squares + counts * (sums / counts - mean) ** 2).sum(axis=0) / counts.sum()
        return mean, np.sqrt(variance)


def _block_statistics(block: Array) -> tuple[np.ndarray, np.ndarray, np.int64]:
    """Sum, sum of squared distances from the mean, and count of the values, for each place of the last axis."""
    xp, axes = array_namespace(block), tuple(range(block.ndim - 1))
    count = math.prod(block.shape[:-1])
    values = xp.astype(block, _widest(block))
    total = xp.sum(values, axis=axes)
    distances = values - total / count
    squares = xp.sum(distances * distances, axis=axes)
    return to_numpy(total).astype(np.float64), to_numpy(squares).astype(np.float64), np.int64(count)


def _widest(array: Array) -> Any:
    backend = backend_of(array)
    try:
        return backend.dtype("float64")
    except InputError:  # a device or library that has float32 only
        return backend.dtype("float32")


def _blocks(inputs: Any) -> Iterator[Array]:
    """Rows of the inputs, a few at a time."""
    values = _BLOCK if isinstance(inputs, np.ndarray) else _DEVICE_BLOCK
    count, rows = inputs.shape[0], max(values // math.prod(inputs.shape[1:]), 1)
    if isinstance(inputs, ImageFiles | HostRows | np.memmap):
        number = min(count, _SAMPLE)
        indices = np.arange(number) * count // number
        rows = min(rows, _SAMPLE_BATCH)
        for start in range(0, number, rows):
            chosen = indices[start : start + rows]
            block = np.asarray(inputs[chosen])
            check_finite("Training inputs", block, row_numbers(inputs, chosen))
            yield block
    else:
        yield from (inputs[start : start + rows, ...] for start in range(0, count, rows))
