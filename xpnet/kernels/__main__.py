"""Print the table of kernels, and which of them serves NumPy's arrays here: ``python -m xpnet.kernels``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.kernels import table
from xpnet.optimizers import Momentum
from xpnet.shapes import Window

_IMAGES, _SAME, _POOL = (16, 28, 28, 16), Window((3, 3), padding=((1, 1), (1, 1))), Window((2, 2), (2, 2))
_PARAMETERS = 10**6


def examples(asarray: Callable[[np.ndarray], Array]) -> dict[str, tuple[Any, ...]]:
    """For each operation arguments as a small network has them, of the library and dtype that ``asarray`` makes."""
    rng = np.random.default_rng(0)
    x, weight, vector, theta, rows = (
        asarray(rng.normal(size=shape)) for shape in (_IMAGES, (16, 3, 3, 16), (16,), (_PARAMETERS,), (16, 10))
    )
    params, state = {"weight": vector, "bias": vector}, {"running_mean": vector, "running_var": vector}
    labels, optimizer = np.zeros(16, np.int32), Momentum(0.1)
    return {
        "conv2d": (x, weight, vector, _SAME, 1),
        "conv2d_backward": (x, x, weight, _SAME, 1),
        "conv2d_block": (x, weight, vector, _SAME, 1, kernels.Normalization(params, state, 1e-5)),
        "max_pool2d": (x, _POOL),
        "max_pool2d_with_winners": (x, _POOL),
        "rectified_max_pool2d": (x, _POOL),
        "average_pool2d": (x, _POOL),
        "average_pool2d_input_gradient": (x[:, ::2, ::2, :], _POOL, _IMAGES[1:3]),
        "batch_norm": (x, params, state, 0.1, 1e-5),
        "batch_norm_by_running_statistics": (x, params, state, 1e-5),
        "rectify": (x,),
        "rectify_gradient": (x, x),
        "rectified_sum": (x, x),
        "normalize": (x, vector, vector),
        "lerp": (x, x, 0.5),
        "elementwise": (x,),
        "softmax_cross_entropy": (rows, labels, 0.0),
        "accuracy": (rows, labels, rows.dtype),
        "channel_sum": (x,),
        "optimizer_update": (theta, optimizer, theta, optimizer.init(theta), 1.0, 1.0),
        "augment": (x, (), (), vector),
        "take_examples": (x, labels, labels, None),
        "matmul": (rows, rows),
        "join_vectors": (vector, vector),
    }


def main() -> None:
    """Print one line for each operation: the module that serves, then all in the order in which they are asked."""
    arguments = examples(lambda array: array.astype(np.float32))
    chosen = {**kernels.in_use(), **kernels.versions("numpy")}
    print(f"float32 images {_IMAGES} of NumPy, {', '.join(f'{name} {value}' for name, value in chosen.items())}")
    for operation, row in table.TABLE.items():
        serves = table.name_of(table.find(operation, *arguments[operation]))
        print(f"{operation:33}{serves:17}" + ", ".join(candidate.module for candidate in row))


if __name__ == "__main__":
    main()
