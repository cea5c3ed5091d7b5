"""The few array kernels whose best form depends on the library and device; which one runs is decided here.

``unrolled`` and ``im2col`` are pure Array API, for any library, and each other's reference. A delegate serves one
library; ``use("pure")`` leaves everything to the pure ones. CuPy's delegate, cuDNN, has not run on a GPU yet and serves
under ``use("cudnn")`` only. Pooling is one function in either memory order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from array_api_compat import is_cupy_array, is_jax_array, is_numpy_array, is_torch_array

from xpnet.backend import Array, array_namespace, on_accelerator
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.kernels import (
    blockwise,
    cross_entropy,
    im2col,
    normalization,
    numpy_kernels,
    numpy_pooling,
    pooling,
    sharing,
    unrolled,
)
from xpnet.kernels.precision import PRECISIONS, use_precision
from xpnet.kernels.rectifier import rectify, rectify_gradient
from xpnet.kernels.windows import channel_sum, join, split, to_logical, to_memory
from xpnet.shapes import Pair, Window

__all__ = [
    "CHOICES",
    "PRECISIONS",
    "average_pool2d",
    "average_pool2d_input_gradient",
    "batch_norm",
    "batch_norm_by_running_statistics",
    "batch_norm_gradients",
    "channel_sum",
    "conv2d",
    "conv2d_backward",
    "in_use",
    "is_deterministic",
    "join_vectors",
    "matmul",
    "max_pool2d",
    "max_pool2d_input_gradient",
    "max_pool2d_with_winners",
    "optimizer_update",
    "rectify",
    "rectify_gradient",
    "softmax_cross_entropy",
    "use",
]

CHOICES = ("fastest", "pure", "cudnn")
_choice = "fastest"
_recordable = _deterministic = False
Arrays = Mapping[str, Array]


def use(choice: str, precision: str = "float32", *, recordable: bool = False, deterministic: bool = False) -> None:
    """Choose the kernels of this whole process, and how exactly they multiply float32 (``kernels/precision.py``).

    ``pure`` are none written for one library; ``cudnn`` are the fastest, with cuDNN's convolutions on CuPy arrays.
    ``recordable`` are those that a CUDA graph can hold; ``deterministic`` those that give the same bits each time, on a
    GPU too.

    Raises InputError for any other choice, and if cuDNN is not installed.
    """
    global _choice, _recordable, _deterministic
    choice = pick("Kernels", {name: name for name in CHOICES}, choice)
    if choice == "cudnn":
        _check_cudnn()
    use_precision(precision)
    _choice, _recordable, _deterministic = choice, recordable, deterministic


def in_use() -> dict[str, str]:
    """What rounding depends on beside library and device: which kernels may serve, and NumPy's number of threads."""
    return {"kernels": _choice, "threads": str(sharing.threads())}


def is_deterministic() -> bool:
    """Whether the kernels must give the same bits each time."""
    return _deterministic


def matmul(a: Array, b: Array) -> Array:
    """Product of two matrices, (m, k) and (k, n) -> (m, n)."""
    if _recordable and is_cupy_array(a):
        graph_kernels = import_module("xpnet.kernels.graph_kernels")
        if graph_kernels.serves(a, b):
            return graph_kernels.matmul(a, b)
    return a @ b


def join_vectors(vectors: list[Array]) -> Array:
    """One vector of several."""
    if _recordable and is_cupy_array(vectors[0]):
        return import_module("xpnet.kernels.graph_kernels").join(vectors)
    return array_namespace(vectors[0]).concat(vectors)


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,).

    The result is images (N, H', W', O).
    """
    kernel = _convolution(x).conv2d
    biases = [None] * groups if bias is None else split(bias, 0, groups)
    parts = zip(split(x, 3, groups), split(weight, 0, groups), biases, strict=True)
    return join([kernel(*part, window) for part in parts], 3)


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (None unless needed) and weight."""
    kernel = _convolution(x).conv2d_backward
    parts = zip(split(x, 3, groups), split(dy, 3, groups), split(weight, 0, groups), strict=True)
    dx, weight_gradient = zip(*(kernel(*part, window, need_dx=need_dx) for part in parts), strict=True)
    return join(list(dx), 3) if need_dx else None, join(list(weight_gradient), 0)


def max_pool2d(x: Array, window: Window, *, relu: bool = False) -> Array:
    """Maximum of each window of images (N, H, W, C), with ``relu`` at least 0."""
    fused = _fused_pooling(x, window)
    if fused:
        return fused.max_pool2d(x, window, relu=relu)
    delegate = _pooling_delegate("max_pool2d", x, window)
    if delegate:
        y = delegate.max_pool2d(x, window)
    else:
        order = _order(x)
        y = order.back(pooling.max_pool2d(order.to(x), window, order.axes))
    return rectify(y) if relu else y


def max_pool2d_with_winners(x: Array, window: Window, *, relu: bool = False) -> tuple[Array, Any]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs to know about who won."""
    fused = _fused_pooling(x, window)
    if fused:
        return fused.max_pool2d_with_winners(x, window, relu=relu)
    delegate = _pooling_delegate("max_pool2d_with_winners", x, window)
    if delegate:
        y, winners = delegate.max_pool2d_with_winners(x, window)
    else:
        order = _order(x)
        y, winners = pooling.max_pool2d_with_winners(order.to(x), window, order.axes)
        y = order.back(y)
    return (rectify(y), (winners, y > 0)) if relu else (y, winners)


def max_pool2d_input_gradient(
    dy: Array, winners: Any, window: Window, image_size: Pair, *, relu: bool = False
) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W)."""
    if is_cupy_array(winners):  # numbers of taps; the pure kernels' winners are masks in a tuple
        return _cuda_kernels().max_pool2d_input_gradient(dy, winners, window, image_size)
    if relu:
        winners, positive = winners
        dy = rectify_gradient(dy, positive)
    delegate = _pooling_delegate("max_pool2d_input_gradient", dy, window)
    if delegate:
        return delegate.max_pool2d_input_gradient(dy, winners, window, image_size)
    order = _order(dy)
    return order.back(pooling.max_pool2d_input_gradient(order.to(dy), winners, window, image_size, order.axes))


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Mean loss of logits (N, K) for labels (N,), and its gradient with respect to the logits."""
    module = _fused(logits) or cross_entropy
    return module.softmax_cross_entropy(logits, labels, label_smoothing)


def batch_norm(
    x: Array, params: Arrays, state: Arrays, momentum: float, eps: float, *, relu: bool = False
) -> tuple[Array, Arrays, Arrays]:
    """Normalise x by its own mean and variance: the result, what the gradients need, and new running statistics.

    With ``relu`` the result is at least 0. What the gradients need has under "batch" an array in the shape of x.
    """
    fused = _fused(x, *params.values(), *state.values())
    if fused:
        return fused.batch_norm(x, params, state, momentum, eps, relu=relu)
    return normalization.by_batch(x, params, state, momentum, eps, relu=relu)


def batch_norm_by_running_statistics(
    x: Array, params: Arrays, state: Arrays, eps: float, *, relu: bool = False
) -> tuple[Array, Arrays]:
    """Normalise x by the running mean and variance: the result, and what the gradients need."""
    fused = _fused(x, *params.values(), *state.values())
    if fused:
        return fused.batch_norm_by_running_statistics(x, params, state, eps, relu=relu)
    return normalization.by_running_statistics(x, params, state, eps, relu=relu)


def batch_norm_gradients(
    dy: Array, params: Arrays, saved: Arrays, *, constant: bool, need_dx: bool, relu: bool = False
) -> tuple[Array | None, Arrays]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    how = {"constant": constant, "need_dx": need_dx}
    if "mean" in saved:  # by the CUDA kernels, which keep x and its mean, not x less its mean
        return _cuda_kernels().batch_norm_gradients(dy, params, saved, relu=relu, **how)
    return normalization.gradients(dy, params["weight"], saved, **how)


def optimizer_update(
    optimizer: Any, theta: Array, gradient: Array, state: Arrays, *, lr_scale: Any, decay_mask: Any
) -> tuple[Array, Arrays]:
    """One step of an optimizer: its own ``update``, or one kernel with the same formula.

    The ``update`` of ``xpnet.optimizers`` runs on parts of long vectors one after the other where that is faster.
    """
    factors = [factor for factor in (lr_scale, decay_mask) if not isinstance(factor, int | float)]
    fused = _fused(theta, gradient, *state.values(), *factors)
    update = fused and fused.optimizer_update(optimizer)
    if update:
        return update(optimizer, theta, gradient, state, lr_scale=lr_scale, decay_mask=decay_mask)
    if _choice != "pure" and blockwise.serves(optimizer, theta):
        return blockwise.optimizer_update(optimizer, theta, gradient, state, lr_scale=lr_scale, decay_mask=decay_mask)
    return optimizer.update(theta, gradient, state, lr_scale=lr_scale, decay_mask=decay_mask)


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    delegate = _pooling_delegate("average_pool2d", x, window)
    if delegate:
        return delegate.average_pool2d(x, window)
    order = _order(x)
    return order.back(pooling.average_pool2d(order.to(x), window, order.axes))


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    delegate = _pooling_delegate("average_pool2d_input_gradient", dy, window)
    if delegate:
        return delegate.average_pool2d_input_gradient(dy, window, image_size)
    order = _order(dy)
    return order.back(pooling.average_pool2d_input_gradient(order.to(dy), window, image_size, order.axes))


def _delegate(x: Array) -> ModuleType | None:
    """The module of kernels written for an array's own library, where there is one and it may serve."""
    if _choice == "pure":
        return None
    if is_numpy_array(x):
        return numpy_kernels
    if is_torch_array(x):
        return import_module("xpnet.kernels.torch_kernels")
    if is_cupy_array(x):
        return import_module("xpnet.kernels.cudnn_kernels") if _choice == "cudnn" else None
    return import_module("xpnet.kernels.jax_kernels") if is_jax_array(x) else None


def _check_cudnn() -> None:
    """Raise InputError unless cuDNN and its Python interface are installed and can be loaded."""
    try:
        import_module("cudnn").backend_version()
    except (ImportError, RuntimeError) as error:  # RuntimeError: the interface is there, the library is not
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"Kernels cudnn: expected cuDNN and its Python interface, got: {reason}. "
            'Install them with: pip install "xpnet[cuda13,cudnn]".'
        ) from error


def _fused(*arrays: Array) -> ModuleType | None:
    """Our own CUDA kernels, where they were chosen and can read all of these arrays."""
    if _choice != "cudnn" or not is_cupy_array(arrays[0]):
        return None
    cuda_kernels = _cuda_kernels()
    return cuda_kernels if cuda_kernels.serves(*arrays) else None


def _cuda_kernels() -> ModuleType:
    return import_module("xpnet.kernels.cuda_kernels")


def _convolution(x: Array) -> ModuleType:
    """The module whose convolution serves an array."""
    return _delegate(x) or (im2col if on_accelerator(x) else unrolled)


def _pooling_delegate(function: str, x: Array, window: Window) -> ModuleType | None:
    """The module whose function serves an array, where it has one and knows the window.

    On a GPU PyTorch's gradient of a maximum adds in no fixed order.
    """
    if _deterministic and is_torch_array(x) and on_accelerator(x):
        return None
    module = _delegate(x)
    if module is numpy_kernels:
        module = numpy_pooling
    return module if module and hasattr(module, function) and module.pools(window) else None


def _fused_pooling(x: Array, window: Window) -> ModuleType | None:
    """Our own CUDA kernels, where they can read the images and know the window."""
    fused = _fused(x)
    return fused if fused and fused.pools(x, window) else None


class _Order(NamedTuple):
    """The order in which images lie in memory: how to get to it and back, and where rows and columns are in it."""

    to: Callable[[Array], Array]
    back: Callable[[Array], Array]
    axes: Pair


_BATCH_INNERMOST = _Order(to_memory, to_logical, (0, 2))
_CHANNELS_INNERMOST = _Order(lambda x: x, lambda x: x, (1, 2))


def _order(x: Array) -> _Order:
    """The order in which the convolution that serves an array leaves images in memory."""
    return _BATCH_INNERMOST if _convolution(x) in (numpy_kernels, unrolled) else _CHANNELS_INNERMOST
