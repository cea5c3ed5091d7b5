"""Convolution by cuDNN for CuPy arrays, in (N, H, W, C) order; what cuDNN has no plan for goes to ``cupy_kernels``."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import cudnn
import cupy

from xpnet.backend import Array
from xpnet.kernels import cupy_kernels, table
from xpnet.kernels.choice import is_deterministic
from xpnet.kernels.cudnn_plans import (
    BIAS,
    DTYPES,
    FORWARD,
    IMAGES,
    INPUT_GRADIENT,
    OUTPUT,
    RESULTS,
    WEIGHT,
    WEIGHT_GRADIENT,
    Convolution,
    build,
)
from xpnet.kernels.precision import precision_in_use
from xpnet.shapes import Window

_ALIGNMENT = 16  # bytes; what cuDNN's frontend promises of every pointer

_logger = logging.getLogger(__name__)


def serves(operation: str, x: Array, *arguments: Any) -> bool:
    """What cuDNN computes rightly: see ``DTYPES``."""
    return x.dtype.name in DTYPES


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,) if any.

    cuDNN finds the groups from the channels of both.
    """
    arrays = {IMAGES: x, WEIGHT: weight}
    y = _run(_describe(FORWARD, x, weight, window, bias), arrays if bias is None else {**arrays, BIAS: bias})
    return cupy_kernels.conv2d(x, weight, bias, window, groups) if y is None else y


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True, need_db: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of ``conv2d`` with respect to its images, weight and bias; None for what is not needed."""
    dx = _run(_describe(INPUT_GRADIENT, x, weight, window), {OUTPUT: dy, WEIGHT: weight}) if need_dx else None
    dw = _run(_describe(WEIGHT_GRADIENT, x, weight, window), {IMAGES: x, OUTPUT: dy})
    missing = need_dx and dx is None
    if missing or dw is None:
        others = cupy_kernels.conv2d_backward(x, dy, weight, window, groups, need_dx=missing, need_db=False)
        dx, dw = others[0] if missing else dx, others[1] if dw is None else dw
    return dx, dw, table.call("channel_sum", dy)[1] if need_db else None


def _describe(operation: str, x: Array, weight: Array, window: Window, bias: Array | None = None) -> Convolution:
    return Convolution(
        operation,
        x.shape,
        weight.shape,
        window,
        x.dtype.name,
        precision_in_use(),
        biased=bias is not None,
        deterministic=is_deterministic(),
    )


class _Context:
    """What a thread needs to use cuDNN on one device: a handle, which has a stream, and the plans made with it."""

    def __init__(self, device: int) -> None:
        self._handle = cudnn.create_handle()
        self._stream: int | None = None
        self._sm_version = int(cupy.cuda.Device(device).compute_capability)
        self._plans: dict[Convolution, Any] = {}

    def plan(self, convolution: Convolution) -> Any | None:
        """The plan for a convolution, made when it is first asked for; None where cuDNN has none."""
        if convolution not in self._plans:
            self._follow_stream()
            self._plans[convolution] = self._build(convolution)
        return self._plans[convolution]

    def execute(self, plan: Any, arrays: Mapping[int, Array]) -> None:
        """Run a plan on the current stream.

        The workspace is a temporary array as any other: freed memory is reused by what comes later on the same stream.
        """
        self._follow_stream()
        workspace = cupy.cuda.alloc(plan.get_workspace_size())
        plan.execute({uid: array.data.ptr for uid, array in arrays.items()}, workspace.ptr, handle=self._handle)

    def _build(self, convolution: Convolution) -> Any | None:
        try:
            return build(convolution, self._sm_version, handle=self._handle)
        except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:
            _announce(convolution, error)
            return None

    def _follow_stream(self) -> None:
        stream = cupy.cuda.get_current_stream().ptr
        if stream != self._stream:
            cudnn.set_stream(handle=self._handle, stream=stream)
            self._stream = stream


class _Contexts(threading.local):
    """Each thread's own, by the device's number."""

    def __init__(self) -> None:
        self.by_device: dict[int, _Context] = {}


_contexts = _Contexts()


def _run(convolution: Convolution, arrays: Mapping[int, Array]) -> Array | None:
    """The result of a convolution; None where cuDNN has no plan for it."""
    context = _context()
    plan = context.plan(convolution)
    if plan is None:
        return None
    uid = RESULTS[convolution.operation]
    result = cupy.empty(convolution.shapes()[uid], dtype=convolution.dtype)
    ready = {uid: _ready(array) for uid, array in arrays.items()}
    context.execute(plan, {**ready, uid: result})
    return result


def _context() -> _Context:
    """That of this thread and the current device, on which CuPy allocates results."""
    device, contexts = cupy.cuda.runtime.getDevice(), _contexts.by_device
    if device not in contexts:
        contexts[device] = _Context(device)
    return contexts[device]


def _ready(array: Array) -> Array:
    """The array as cuDNN takes it: without gaps, and at a round address, which a view of θ need not have."""
    array = cupy.ascontiguousarray(array)
    return array if array.data.ptr % _ALIGNMENT == 0 else array.copy()


def _announce(convolution: Convolution, error: Exception) -> None:
    """Say that convolutions are slower than asked for: in the same words, so that Python shows them once.

    The log has them all.
    """
    _logger.warning("cuDNN has no plan for %s: %s", convolution, str(error).partition("\n")[0])
    warnings.warn(
        "cuDNN has no plan for a convolution; it and others like it are computed as matrix products. "
        "The log names them.",
        RuntimeWarning,
        stacklevel=2,
    )
