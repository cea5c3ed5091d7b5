"""A training step as one CUDA graph: its kernel launches are recorded once and from then on replayed by a single call.

A graph repeats addresses, not values. So whatever changes from step to step lies in buffers that stay where they are:
what is new is copied into them before a replay, and what the step made of its values at the end of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.layout import map_tree, walk

_log = logging.getLogger(__name__)
_NUMBERS_THAT_CHANGE: Mapping[str, str | None] = {  # None: θ's dtype
    "iteration": "int32",
    "lr_scale": None,
    "average_share": None,
    "mix": None,
}
_TOLERANCE = 1e-3  # of the length of the step: far above rounding, far below any wrong address
_ROUNDING = 1e-6  # of the values, where a step hardly changes them


class GraphedStep:
    """A training step (see ``trainer.make_step``) that is replayed as a CUDA graph where it can be.

    Called as the step is, with CuPy arrays, and equal to it but for one thing: the values that a call returns are
    overwritten by the next one. Copy what is to be kept. A number ``lr_scale`` becomes an array in θ's dtype; its
    product with the optimizer's learning rate has the same bits if that is 1.

    The second batch in a row of one shape is recorded and all later ones of that shape are replayed; the others, such
    as the odd last batch of an epoch, are computed as ever. The first replay is compared with the step itself. If it
    differs, or recording fails, a warning is logged and every step from then on is computed as ever.
    """

    def __init__(self, step: Callable[..., tuple[Any, Any]], cupy: Any) -> None:
        self._step, self._cupy = step, cupy
        self._recordings: dict[Any, _Recording] = {}
        self._last: tuple[Any, Any, dict[str, Any]] | None = None
        self._failed = False

    def __call__(
        self,
        values: Any,
        x: Array,
        targets: Array,
        weights: Array | None = None,
        key: Array | None = None,
        iteration: int = 0,
        lr_scale: float = 1.0,
        decay_mask: Array | float = 1.0,
        **others: Any,
    ) -> tuple[Any, Any]:
        """One step: the new values, and the metrics of the batch."""
        inputs = {
            "x": x,
            "targets": targets,
            "weights": weights,
            "key": key,
            "iteration": iteration,
            "lr_scale": lr_scale,
            "decay_mask": decay_mask,
            **others,
        }
        shapes = tuple(_shape(name, value) for name, value in inputs.items())
        last, self._last = self._last, None
        if shapes in self._recordings:
            return self._recordings[shapes].replay(values, inputs)
        if last and last[0] == shapes:
            return self._record(shapes, last[1:], values, inputs)
        if not self._failed:
            self._last = (shapes, values, inputs)
        return self._step(values, **inputs)

    def _record(self, shapes: Any, last: Any, values: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """One step, recorded with the last step's values and inputs, replayed with these and compared."""
        expected = self._step(values, **inputs)
        try:
            recording = _Recording(self._cupy, self._step, *last)
            result = recording.replay(values, inputs)
            problem = _difference(values, result[0], expected[0])
        except Exception as error:  # the step itself has just worked: whatever it is, it comes from recording
            problem = " ".join(str(error).split()) or type(error).__name__
        else:
            if problem is None:
                self._recordings[shapes] = recording
                return result
        self._failed = True
        self._recordings.clear()
        _log.warning("CUDA graph: training goes on without one, step by step (%s).", problem)
        return expected


class _Recording:
    """The graph for one shape of batches, with its buffers and the memory that it works in."""

    def __init__(self, cupy: Any, step: Callable[..., tuple[Any, Any]], values: Any, inputs: Mapping[str, Any]) -> None:
        self._cupy = cupy
        dtypes = {name: dtype or values.theta.dtype for name, dtype in _NUMBERS_THAT_CHANGE.items()}
        self._values = type(values)(**map_tree(self._copy, values._asdict()))
        self._inputs = {name: self._buffer(value, dtypes.get(name)) for name, value in inputs.items()}
        self._changing = [name for name, buffer in self._inputs.items() if _is_filled(buffer)]
        self._seen = dict(inputs)
        # Both are kept with the graph: it goes on writing to memory that was freed while recording, and libraries know
        # the stream by an address that another one could get.
        self._pool = cupy.cuda.MemoryPool()
        self._stream = stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.runtime.deviceSynchronize()
        with stream, cupy.cuda.using_allocator(self._pool.malloc):
            self._run(step)  # compiles kernels and lets the pool grow, neither of which can be recorded
            stream.synchronize()
            stream.begin_capture()
            try:
                new, self._metrics = self._run(step)
                self._put_back(new)
            except BaseException:
                _discard(stream)
                raise
            self._graph = stream.end_capture()

    def replay(self, values: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """One step; the values it returns are the buffers."""
        if values is not self._values:
            self._put_back(values)
        for name in self._changing:
            self._fill(self._inputs[name], inputs[name], self._seen[name])
        self._seen = dict(inputs)
        self._graph.launch()
        return self._values, type(self._metrics)(*map(self._copy, self._metrics))

    def _run(self, step: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
        return step(self._values, **self._inputs)

    def _put_back(self, values: Any) -> None:
        """Copy values into their buffers; those that a step hands on unchanged are the buffers."""
        buffers = dict(walk(self._values._asdict()))
        for name, value in walk(values._asdict()):
            if value is not buffers[name]:
                self._cupy.copyto(buffers[name], value)

    def _fill(self, buffer: Any, value: Any, seen: Any) -> None:
        """Copy a value into its buffer, or each of several, unless it is the last one's."""
        if isinstance(buffer, tuple):
            for one in zip(buffer, value, seen, strict=True):
                self._fill(*one)
        elif value is not seen and not (isinstance(value, int | float) and value == seen):
            self._cupy.copyto(buffer, value)

    def _buffer(self, value: Any, dtype: Any) -> Any:
        """Where an array lies, and a number or numbers that have a dtype; what else there is stays as it is."""
        if hasattr(value, "shape"):
            return self._copy(value)
        if dtype is not None and isinstance(value, tuple):
            return tuple(self._buffer(number, dtype) for number in value)
        return value if dtype is None else self._cupy.full((), value, dtype=dtype)

    def _copy(self, array: Array) -> Array:
        return self._cupy.array(array, copy=True)


def _is_filled(buffer: Any) -> bool:
    return hasattr(buffer, "shape") or (isinstance(buffer, tuple) and any(map(_is_filled, buffer)))


def _shape(name: str, value: Any) -> Any:
    """What a graph is bound to: an array's shape and dtype, and a number unless it is one that changes."""
    if hasattr(value, "shape"):
        return tuple(value.shape), str(value.dtype)
    return None if name in _NUMBERS_THAT_CHANGE else value


def _discard(stream: Any) -> None:
    """Leave a recording that has failed."""
    try:
        stream.end_capture()
    except Exception as error:  # the failure itself is about to be raised
        _log.debug("after a failed recording: %s", error)


def _difference(before: Any, replayed: Any, expected: Any) -> str | None:
    """What is wrong with a replayed step in any of its values, if it is more than rounding."""
    trees = [dict(walk(values._asdict())) for values in (before, replayed, expected)]
    for name in trees[0]:
        start, end, wanted = (to_numpy(tree[name]).astype(np.float64) for tree in trees)
        length, error = np.linalg.norm(wanted - start), np.linalg.norm(end - wanted)
        if error > max(_TOLERANCE * length, _ROUNDING * np.linalg.norm(wanted)):
            return f"its first step differs in {name} by {error / length if length else np.inf:.1e} of its length"
    return None
