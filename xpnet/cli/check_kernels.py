"""Our CUDA kernels on a GPU against the pure ones on NumPy in float64: a part of ``check_gpu``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend, to_numpy
from xpnet.kernels import cross_entropy, pooling
from xpnet.layers import normalization
from xpnet.optimizers import Adam, AdamW, Momentum, Optimizer
from xpnet.random import generator
from xpnet.shapes import Shape, Window

Pairs = Iterator[tuple[str, Array, np.ndarray]]
# Of the starters and of ResNet-50: images to pool, (rows, classes), (rows, channels), parameters.
POOLS: tuple[tuple[Shape, Window], ...] = (
    ((512, 28, 28, 16), Window((2, 2), (2, 2))),
    ((8, 112, 112, 64), Window((3, 3), (2, 2), ((1, 1), (1, 1)))),
)
LOGITS: tuple[Shape, ...] = ((16, 10), (512, 1000))
ROWS: tuple[Shape, ...] = ((8 * 112 * 112, 64), (8 * 7 * 7, 2048), (100, 3))
PARAMETERS = 1_000_003
OPTIMIZERS: tuple[Optimizer, ...] = (
    *(Momentum(0.1, weight_decay=0.01, form=form) for form in ("moving-average", "heavy-ball", "nesterov")),
    *(Adam(0.01, weight_decay=0.01), AdamW(0.01)),
)


def compare(backend: Backend) -> Iterator[tuple[str, float, float]]:
    """What was compared, the largest difference by the largest value, and how large it may be.

    An error is a difference of NaN, so that it does not hide what comes after it.
    """
    cuda_kernels = import_module("xpnet.kernels.cuda_kernels")
    for what, allowed, compute, *arguments in _comparisons():
        try:
            for part, actual, expected in compute(backend, cuda_kernels, *arguments):
                yield f"{what}: {part}", difference(to_numpy(actual), expected), allowed
        except Exception as error:
            yield f"{what}: {type(error).__name__}: {error}", np.nan, allowed


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference by the largest value."""
    return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))


def _comparisons() -> Iterator[tuple[Any, ...]]:
    """A title, the difference that is allowed, a function that compares, and its arguments."""
    for shape, window in POOLS:
        yield f"max-pool of {_text(shape)}", 0.0, _pool, shape, window
    for shape in LOGITS:
        yield f"softmax cross-entropy of {_text(shape)}", 1e-5, _loss, shape
    for shape in ROWS:
        yield f"batch normalisation and ReLU of {_text(shape)}", 1e-5, _batch_norm, shape
    for optimizer in OPTIMIZERS:
        yield _name(optimizer), 1e-6, _step, optimizer


def _pool(backend: Backend, cuda_kernels: Any, shape: Shape, window: Window) -> Pairs:
    """Of whole numbers, so that every sum is exact."""
    rng, image_size = generator(0), (shape[1], shape[2])
    x = rng.integers(-100, 100, shape).astype(np.float64)
    y, winners = cuda_kernels.max_pool2d_with_winners(backend.asarray(x, "float32"), window)
    dy = rng.integers(1, 10, y.shape).astype(np.float64)
    dx = cuda_kernels.max_pool2d_input_gradient(backend.asarray(dy, "float32"), winners, window, image_size)
    expected, pure_winners = pooling.max_pool2d_with_winners(x, window)
    yield "y", y, expected
    yield "dx", dx, pooling.max_pool2d_input_gradient(dy, pure_winners, window, image_size)


def _loss(backend: Backend, cuda_kernels: Any, shape: Shape) -> Pairs:
    rng = generator(0)
    logits = rng.normal(0, 5, shape).astype(np.float32)
    labels = rng.integers(0, shape[1], shape[0]).astype(np.int32)
    actual = cuda_kernels.softmax_cross_entropy(backend.asarray(logits), backend.asarray(labels), 0.1)
    expected = cross_entropy.softmax_cross_entropy(logits.astype(np.float64), labels, 0.1)
    yield from zip(("loss", "gradient"), actual, map(np.asarray, expected), strict=True)


def _batch_norm(backend: Backend, cuda_kernels: Any, shape: Shape) -> Pairs:
    rng, how = generator(0), {"constant": False, "need_dx": True}
    x, dy = rng.normal(3, 2, shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    params = {name: rng.normal(size=shape[1]).astype(np.float32) for name in ("weight", "bias")}
    state = {name: rng.uniform(1, 2, shape[1]).astype(np.float32) for name in ("running_mean", "running_var")}
    arguments = (_doubled(params), _doubled(state), 0.1, 1e-5)
    before_relu = normalization.by_batch(x.astype(np.float64), *arguments)[0]
    dy[np.abs(before_relu) < 1e-4] = 0  # rounding decides on which side of the ReLU's kink these are
    expected, saved, after = kernels.batch_norm(normalization.by_batch, x.astype(np.float64), *arguments, relu=True)
    dx, grads = kernels.batch_norm_gradients(
        normalization.gradients, dy.astype(np.float64), arguments[0], saved, relu=True, **how
    )

    p, s = ({name: backend.asarray(array) for name, array in tree.items()} for tree in (params, state))
    our_y, our_saved, our_after = cuda_kernels.batch_norm(backend.asarray(x), p, s, 0.1, 1e-5, relu=True)
    our_dx, our_grads = cuda_kernels.batch_norm_gradients(backend.asarray(dy), p, our_saved, relu=True, **how)
    yield "y", our_y, expected
    yield "dx", our_dx, np.asarray(dx)
    for name in params:
        yield f"d{name}", our_grads[name], grads[name]
    for name in state:
        yield name, our_after[name], after[name]


def _doubled(tree: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float64) for name, array in tree.items()}


def _step(backend: Backend, cuda_kernels: Any, optimizer: Optimizer) -> Pairs:
    """The second step, whose state is no longer zero."""
    rng = generator(0)
    theta, first, second = (rng.normal(size=PARAMETERS).astype(np.float32) for _ in range(3))
    ours, gradients = backend.asarray(theta), [backend.asarray(gradient) for gradient in (first, second)]
    state, theirs = optimizer.init(ours), theta.astype(np.float64)
    their_state = optimizer.init(theirs)
    for gradient, on_device in zip((first, second), gradients, strict=True):
        ours, state = cuda_kernels.optimizer_update(ours, optimizer, on_device, state, 0.5, 1.0)
        theirs, their_state = optimizer.update(theirs, gradient.astype(np.float64), their_state, lr_scale=0.5)
    yield "theta", ours, theirs
    for name, array in their_state.items():
        yield name, state[name], array


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _name(optimizer: Optimizer) -> str:
    return f"momentum, {optimizer.form}" if isinstance(optimizer, Momentum) else type(optimizer).__name__
