"""Convolution, pooling and batch normalisation by oneDNN, for NumPy arrays of float32 in (N, H, W, C) order.

What oneDNN refuses, or would compute by a plain loop, goes to the kernels there are without it. So do values for which
its rules are not ours: its maximum knows neither NaN nor a window that holds nothing but -inf.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from xpnet.kernels import onednn_running
from xpnet.kernels.block import Normalization
from xpnet.kernels.onednn_library import OneDNNError
from xpnet.kernels.onednn_loading import load
from xpnet.kernels.onednn_plans import BatchNorm, Convolution, Pooling
from xpnet.kernels.onednn_running import execute, has_plan, plan_of, ready, run
from xpnet.kernels.pointwise import rectify, rectify_gradient
from xpnet.shapes import Pair, Shape, Window

Arrays = Mapping[str, np.ndarray]

_logger = logging.getLogger(__name__)


@cache
def is_available() -> bool:
    """Whether oneDNN can be loaded; the log says once what serves, or why it does not."""
    try:
        library = load()
    except OneDNNError as error:
        _logger.info("oneDNN does not serve NumPy's arrays: %s", error)
        return False
    _logger.info("oneDNN %s for %s serves NumPy's arrays", library.version, library.instruction_set)
    return True


def version() -> str:
    """OneDNN's version and the instruction set that it compiles for, on which rounding depends; none without it."""
    return f"{load().version} {load().instruction_set}" if is_available() else "none"


def serves(operation: str, x: np.ndarray, *arguments: Any) -> bool:
    """Whether oneDNN has a fast kernel for an operation on these arrays."""
    if x.dtype != np.float32 or x.size == 0 or onednn_running.has_failed() or not is_available():
        return False
    return _SERVES[operation](x, *arguments)


def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, groups: int = 1) -> np.ndarray:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,) if any."""
    convolution = _convolution(x, weight, window, groups, biased=bias is not None)
    y = _empty(convolution.output())
    run("forward", convolution, x, weight, *(() if bias is None else (bias,)), y)
    return y


def conv2d_block(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    groups: int,
    normalization: Normalization | None,
    *,
    relu: bool,
) -> np.ndarray:
    """A convolution, normalised if it is told how, and at least 0 with ``relu``: max(scale * conv + shift, 0)."""
    factors, terms = ([], [] if bias is None else [bias]) if normalization is None else _folded(bias, normalization)
    is_safe = not relu or _are_finite(x, weight, *factors, *terms)  # oneDNN's ReLU may let no NaN through
    convolution = _convolution(x, weight, window, groups, biased=bool(terms))
    convolution = convolution._replace(scaled=bool(factors), relu=relu and is_safe)
    y = _empty(convolution.output())
    run("forward", convolution, x, weight, *factors, *terms, y)
    return y if is_safe else rectify(y)


def conv2d_backward(
    x: np.ndarray,
    dy: np.ndarray,
    weight: np.ndarray,
    window: Window,
    groups: int = 1,
    *,
    need_dx: bool = True,
    need_db: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Gradients of ``conv2d`` with respect to its images, weight and bias; None for what is not needed."""
    convolution = _convolution(x, weight, window, groups, biased=need_db)
    dx = _empty(x.shape) if need_dx else None
    if dx is not None:
        run("input_gradient", convolution._replace(biased=False), dy, weight, dx)
    dw, db = _empty(weight.shape), _empty(weight.shape[:1]) if need_db else None
    run("weight_gradient", convolution, x, dy, dw, *(() if db is None else (db,)))
    return dx, dw, db


def max_pool2d(x: np.ndarray, window: Window) -> np.ndarray:
    """Maximum of each window of images (N, H, W, C)."""
    return _pooled(x, Pooling(x.shape, window, maximum=True))


def max_pool2d_with_winners(x: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """The same maximum, and which of its window's values it was, as bytes that oneDNN reads."""
    pooling = Pooling(x.shape, window, maximum=True)
    plan = plan_of("forward_with_winners", pooling)
    y, winners = _empty(pooling.output()), np.empty(plan.sizes[2], np.uint8)
    execute(plan, x, y, winners)
    return y, winners


def max_pool2d_input_gradient(dy: np.ndarray, winners: np.ndarray, window: Window, image_size: Pair) -> np.ndarray:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W)."""
    dx = _empty((dy.shape[0], *image_size, dy.shape[3]))
    run("backward", Pooling(dx.shape, window, maximum=True), dy, winners, dx)
    return dx


def average_pool2d(x: np.ndarray, window: Window) -> np.ndarray:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    return _pooled(x, Pooling(x.shape, window, maximum=False))


def average_pool2d_input_gradient(dy: np.ndarray, window: Window, image_size: Pair) -> np.ndarray:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    dx = _empty((dy.shape[0], *image_size, dy.shape[3]))
    run("backward", Pooling(dx.shape, window, maximum=False), dy, dx)
    return dx


def batch_norm(
    x: np.ndarray, params: Arrays, state: Arrays, momentum: float, eps: float, *, relu: bool
) -> tuple[np.ndarray, Arrays, Arrays]:
    """Normalise x by its own mean and variance: the result, what the gradients need, and new running statistics."""
    statistics = _empty(x.shape[-1:]), _empty(x.shape[-1:])
    y, saved = _normalize(x, params, statistics, BatchNorm(x.shape, eps, constant=False, relu=relu))
    mean, variance = statistics
    if relu and not _are_finite(mean, params["weight"], params["bias"]):  # oneDNN's ReLU may let no NaN through
        y, saved = _rectified(*_normalize(x, params, statistics, BatchNorm(x.shape, eps, constant=False, relu=False)))
    keep, take, count = 1 - momentum, momentum, x.size // x.shape[-1]
    running = {
        "running_mean": keep * state["running_mean"] + take * mean,
        "running_var": keep * state["running_var"] + take * count / (count - 1) * variance,
    }
    return y, saved, running


def batch_norm_by_running_statistics(
    x: np.ndarray, params: Arrays, state: Arrays, eps: float, *, relu: bool
) -> tuple[np.ndarray, Arrays]:
    """Normalise x by the running mean and variance: the result, and what the gradients need."""
    statistics = state["running_mean"], state["running_var"]
    y, saved = _normalize(x, params, statistics, BatchNorm(x.shape, eps, constant=True, relu=False))
    return _rectified(y, saved) if relu else (y, saved)


def batch_norm_gradients(
    dy: np.ndarray, params: Arrays, saved: Arrays, *, constant: bool, need_dx: bool, relu: bool
) -> tuple[np.ndarray | None, Arrays]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    if "y" in saved:
        dy = rectify_gradient(dy, saved["y"])
    x, passed = saved["batch"], [saved["passed"]] if "passed" in saved else []
    norm = BatchNorm(x.shape, float(saved["eps"]), constant=constant, relu=bool(passed))
    dx, dweight, dbias = _empty(x.shape), _empty(x.shape[-1:]), _empty(x.shape[-1:])
    inputs = dy, x, params["weight"], saved["mean"], saved["variance"]
    run("backward", norm, *inputs, dx, dweight, dbias, *passed)
    return dx if need_dx else None, {"weight": dweight, "bias": dbias}


def _serves_conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, groups: int) -> bool:
    terms = () if bias is None else (bias,)
    return has_plan("forward", _convolution(x, weight, window, groups, biased=bool(terms)), weight, *terms)


def _serves_conv2d_block(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    groups: int,
    normalization: Normalization | None,
) -> bool:
    others = () if normalization is None else (*normalization.params.values(), *normalization.state.values())
    terms = (*others, *(() if bias is None else (bias,)))
    block = _convolution(x, weight, window, groups, biased=bool(terms))._replace(scaled=bool(others))
    return all(has_plan("forward", block._replace(relu=relu), weight, *terms) for relu in (False, True))


def _serves_conv2d_backward(x: np.ndarray, dy: np.ndarray, weight: np.ndarray, window: Window, groups: int) -> bool:
    convolution = _convolution(x, weight, window, groups, biased=False)
    return all(has_plan(operation, convolution, dy, weight) for operation in ("input_gradient", "weight_gradient"))


def _serves_max_pool2d(x: np.ndarray, window: Window) -> bool:
    pooling = Pooling(x.shape, window, maximum=True)
    return all(has_plan(operation, pooling) for operation in ("forward_with_winners", "backward")) and _are_finite(x)


def _serves_average_pool2d(x: np.ndarray, window: Window) -> bool:
    return has_plan("forward", Pooling(x.shape, window, maximum=False))


def _serves_average_pool2d_input_gradient(dy: np.ndarray, window: Window, image_size: Pair) -> bool:
    return has_plan("backward", Pooling((dy.shape[0], *image_size, dy.shape[3]), window, maximum=False))


def _serves_batch_norm(x: np.ndarray, params: Arrays, state: Arrays, *_: float) -> bool:
    if x.ndim not in (2, 4):
        return False
    norm = BatchNorm(x.shape, 1e-5, constant=False, relu=True)
    return all(has_plan(operation, norm, *params.values(), *state.values()) for operation in ("forward", "backward"))


_SERVES: Mapping[str, Callable[..., bool]] = {
    "conv2d": _serves_conv2d,
    "conv2d_block": _serves_conv2d_block,
    "conv2d_backward": _serves_conv2d_backward,
    "max_pool2d": _serves_max_pool2d,
    "max_pool2d_with_winners": _serves_max_pool2d,
    "average_pool2d": _serves_average_pool2d,
    "average_pool2d_input_gradient": _serves_average_pool2d_input_gradient,
    "batch_norm": _serves_batch_norm,
    "batch_norm_by_running_statistics": _serves_batch_norm,
}


def _convolution(x: np.ndarray, weight: np.ndarray, window: Window, groups: int, *, biased: bool) -> Convolution:
    return Convolution(x.shape, weight.shape, window, groups, biased)


def _folded(bias: np.ndarray | None, norm: Normalization) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scale and shift of a convolution's result that normalise it: the shift takes in the bias."""
    scale = norm.params["weight"] / np.sqrt(norm.state["running_var"] + np.float32(norm.eps))
    mean = norm.state["running_mean"] if bias is None else norm.state["running_mean"] - bias
    return [scale], [norm.params["bias"] - mean * scale]


def _pooled(x: np.ndarray, pooling: Pooling) -> np.ndarray:
    y = _empty(pooling.output())
    run("forward", pooling, x, y)
    return y


def _normalize(
    x: np.ndarray, params: Arrays, statistics: tuple[np.ndarray, np.ndarray], norm: BatchNorm
) -> tuple[np.ndarray, Arrays]:
    """y, and what the gradients need; fills in the statistics unless they are constant."""
    plan, y, (mean, variance) = plan_of("forward", norm), _empty(x.shape), statistics
    passed = [np.empty(plan.sizes[-1], np.uint8)] if norm.relu else []
    execute(plan, x, params["weight"], params["bias"], mean, variance, y, *passed)
    saved = {"batch": x, "mean": mean, "variance": variance, "eps": np.asarray(norm.eps)}
    return y, {**saved, "passed": passed[0]} if passed else saved


def _rectified(y: np.ndarray, saved: Arrays) -> tuple[np.ndarray, Arrays]:
    y = rectify(y)
    return y, {**saved, "y": y}


def _are_finite(*arrays: np.ndarray) -> bool:
    """Whether no value is NaN or infinite, by the fastest pass there is; values above 1e19 count as infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(np.dot(flat, flat)) for flat in (ready(array).ravel() for array in arrays))


def _empty(shape: Shape) -> np.ndarray:
    return np.empty(shape, np.float32)
