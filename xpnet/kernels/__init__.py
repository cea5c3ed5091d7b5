"""The array kernels whose best form depends on the library and device: what layers call.

``table.py`` lists who may compute each, and picks; ``choice.py`` is told which kernels may serve. What a backward
kernel needs of its forward one is made and read by the same module, whose name stands beside it in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from xpnet.backend import Array
from xpnet.kernels import table
from xpnet.kernels.block import Normalization
from xpnet.kernels.choice import CHOICES, in_use, is_deterministic, use, using, versions
from xpnet.kernels.precision import PRECISIONS
from xpnet.kernels.vectors import vector
from xpnet.shapes import Pair, Window

__all__ = [
    "CHOICES",
    "PRECISIONS",
    "Normalization",
    "accuracy",
    "average_pool2d",
    "average_pool2d_input_gradient",
    "batch_norm",
    "batch_norm_by_running_statistics",
    "batch_norm_gradients",
    "channel_sum",
    "conv2d",
    "conv2d_backward",
    "conv2d_block",
    "elementwise",
    "in_use",
    "is_deterministic",
    "join_vectors",
    "lerp",
    "matmul",
    "max_pool2d",
    "max_pool2d_input_gradient",
    "max_pool2d_with_winners",
    "normalize",
    "rectified_max_pool2d",
    "rectified_max_pool2d_input_gradient",
    "rectified_sum",
    "rectify",
    "rectify_gradient",
    "softmax_cross_entropy",
    "take_examples",
    "use",
    "using",
    "vector",
    "versions",
]

Arrays = Mapping[str, Array]
_FORMULA = "formula"  # in place of a module's name


def matmul(a: Array, b: Array) -> Array:
    """Product of two matrices, (m, k) and (k, n) -> (m, n)."""
    return table.call("matmul", a, b)[1]


def join_vectors(vectors: list[Array]) -> Array:
    """One vector of several."""
    return table.call("join_vectors", *vectors)[1]


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,).

    The result is images (N, H', W', O).
    """
    return table.call("conv2d", x, weight, bias, window, groups)[1]


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True, need_db: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of ``conv2d`` with respect to its images, weight and bias; None for what is not needed."""
    return table.call("conv2d_backward", x, dy, weight, window, groups, need_dx=need_dx, need_db=need_db)[1]


def conv2d_block(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    normalization: Normalization | None,
    *,
    relu: bool,
) -> Array | None:
    """A convolution, normalised by running statistics if they are given, and at least 0 with ``relu``, for prediction.

    None where no kernel serves that computes all at once.
    """
    return table.call("conv2d_block", x, weight, bias, window, groups, normalization, relu=relu)[1]


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C)."""
    return table.call("max_pool2d", x, window)[1]


def max_pool2d_with_winners(x: Array, window: Window) -> tuple[Array, Any]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs to know about who won."""
    module, (y, winners) = table.call("max_pool2d_with_winners", x, window)
    return y, {table.name_of(module): winners}


def max_pool2d_input_gradient(dy: Array, winners: Any, window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W)."""
    ((maker, made),) = winners.items()
    return table.by_name(maker).max_pool2d_input_gradient(dy, made, window, image_size)


def rectified_max_pool2d(x: Array, window: Window) -> tuple[Array, Any]:
    """max(y, 0) of the maximum y of each window, and what ``rectified_max_pool2d_input_gradient`` needs to know."""
    module, result = table.call("rectified_max_pool2d", x, window)
    if module:
        y, winners = result
        return y, {"winners": {table.name_of(module): winners}}
    y, winners = max_pool2d_with_winners(x, window)
    y = rectify(y)
    return y, {"winners": winners, "y": y}


def rectified_max_pool2d_input_gradient(dy: Array, saved: Any, window: Window, image_size: Pair) -> Array:
    """Gradient of ``rectified_max_pool2d`` with respect to images of size (H, W)."""
    if "y" in saved:
        dy = rectify_gradient(dy, saved["y"])
    return max_pool2d_input_gradient(dy, saved["winners"], window, image_size)


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    return table.call("average_pool2d", x, window)[1]


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    return table.call("average_pool2d_input_gradient", dy, window, image_size)[1]


def elementwise(x: Array, function: Callable[[Array], tuple[Array, ...]]) -> tuple[Array, ...]:
    """The function's results: arrays like x, each element of which depends on the same element of x alone."""
    module, results = table.call("elementwise", x, function)
    return results if module else function(x)


def rectify(x: Array) -> Array:
    """max(x, 0)."""
    return table.call("rectify", x)[1]


def rectify_gradient(dy: Array, y: Array) -> Array:
    """Input gradient of ``rectify``: dy where its output y was above 0, else 0."""
    return table.call("rectify_gradient", dy, y)[1]


def rectified_sum(a: Array, b: Array) -> Array:
    """max(a + b, 0)."""
    module, y = table.call("rectified_sum", a, b)
    return y if module else rectify(a + b)


def normalize(x: Array, mean: Array, scale: Array) -> Array:
    """(x - mean) * scale, each of the last two with a value for each channel, (C,)."""
    return table.call("normalize", x, mean, scale)[1]


def lerp(start: Array, end: Array, share: float | Array) -> Array:
    """Linear interpolation: start + share (end - start), with one number for all elements."""
    return table.call("lerp", start, end, share)[1]


def take_examples(inputs: Array, targets: Array, indices: Array, dtype: Any = None) -> tuple[Array, Array]:
    """The inputs and the targets of some examples; the inputs in ``dtype`` where that costs nothing."""
    return table.call("take_examples", inputs, targets, indices, dtype)[1]


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Mean loss of logits (N, K) for labels (N,), and its gradient with respect to the logits."""
    return table.call("softmax_cross_entropy", logits, labels, label_smoothing)[1]


def channel_sum(x: Array) -> Array:
    """Sum over all axes but the last: of images (N, H, W, C) or rows (N, C) for each channel, (C,)."""
    return table.call("channel_sum", x)[1]


def accuracy(logits: Array, labels: Array, dtype: Any) -> Array:
    """The share of rows of logits (N, K) whose largest is that of their label, as an array of ``dtype``."""
    return table.call("accuracy", logits, labels, dtype)[1]


def batch_norm(
    formula: Callable[..., tuple[Array, Arrays, Arrays]],
    x: Array,
    params: Arrays,
    state: Arrays,
    momentum: float,
    eps: float,
    *,
    relu: bool = False,
) -> tuple[Array, Arrays, Arrays]:
    """Normalise x by its own mean and variance: the result, what the gradients need, and new running statistics.

    ``formula`` is that of ``xpnet.layers.BatchNorm``, which computes where no kernel serves. With ``relu`` the result
    is at least 0.
    """
    module, result = table.call("batch_norm", x, params, state, momentum, eps, relu=relu)
    y, saved, running = result if module else formula(x, params, state, momentum, eps)
    return *_made_by(module, y, saved, relu), running


def batch_norm_by_running_statistics(
    formula: Callable[..., tuple[Array, Arrays]],
    x: Array,
    params: Arrays,
    state: Arrays,
    eps: float,
    *,
    relu: bool = False,
) -> tuple[Array, Arrays]:
    """Normalise x by the running mean and variance: the result, and what the gradients need."""
    module, result = table.call("batch_norm_by_running_statistics", x, params, state, eps, relu=relu)
    y, saved = result if module else formula(x, params, state, eps)
    return _made_by(module, y, saved, relu)


def batch_norm_gradients(
    formula: Callable[..., tuple[Array | None, Arrays]],
    dy: Array,
    params: Arrays,
    saved: Arrays,
    *,
    constant: bool,
    need_dx: bool,
    relu: bool = False,
) -> tuple[Array | None, Arrays]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    ((maker, made),) = saved.items()
    if maker != _FORMULA:
        settings = {"constant": constant, "need_dx": need_dx, "relu": relu}
        return table.by_name(maker).batch_norm_gradients(dy, params, made, **settings)
    if relu:
        dy = rectify_gradient(dy, made["y"])
    return formula(dy, params, made, constant=constant, need_dx=need_dx)


def _made_by(module: ModuleType | None, y: Array, saved: Arrays, relu: bool) -> tuple[Array, Arrays]:
    """A result of batch normalisation and what the gradients need; a formula's ReLU is still to come."""
    if module:
        return y, {table.name_of(module): saved}
    if relu:
        y = rectify(y)
        saved = {**saved, "y": y}
    return y, {_FORMULA: saved}
