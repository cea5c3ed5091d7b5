"""Print the table of kernels, and which of them serves NumPy's arrays here: ``python -m xpnet.kernels``."""

from __future__ import annotations

import numpy as np

from xpnet import kernels
from xpnet.kernels import table
from xpnet.optimizers import Momentum
from xpnet.shapes import Window

_IMAGES, _WEIGHT, _POOL = (16, 28, 28, 16), (16, 3, 3, 16), Window((2, 2), (2, 2))


def main() -> None:
    """Print one line for each operation: the module that serves, then all in the order in which they are asked."""
    x, weight = np.ones(_IMAGES, np.float32), np.ones(_WEIGHT, np.float32)
    same, vector = Window((3, 3), padding=((1, 1), (1, 1))), np.ones(16, np.float32)
    params = {"weight": vector, "bias": vector}
    theta, optimizer = np.ones(10**6, np.float32), Momentum(0.1)
    state = {"running_mean": vector, "running_var": vector}
    arguments = {
        "conv2d": (x, weight, vector, same, 1),
        "conv2d_backward": (x, x, weight, same, 1),
        "conv2d_block": (x, weight, vector, same, 1, kernels.Normalization(params, state, 1e-5)),
        "max_pool2d": (x, _POOL),
        "max_pool2d_with_winners": (x, _POOL),
        "average_pool2d": (x, _POOL),
        "average_pool2d_input_gradient": (x[:, ::2, ::2], _POOL, _IMAGES[1:3]),
        "batch_norm": (x, params, state, 0.1, 1e-5),
        "batch_norm_by_running_statistics": (x, params, state, 1e-5),
        "rectify": (x,),
        "rectify_gradient": (x, x),
        "normalize": (x, vector, vector),
        "elementwise": (x,),
        "optimizer_update": (theta, optimizer, theta, optimizer.init(theta), 1.0, 1.0),
        "softmax_cross_entropy": (x[:, 0, 0], np.zeros(16, np.int32), 0.0),
        "accuracy": (x[:, 0, 0], np.zeros(16, np.int32), np.float32),
        "matmul": (x[:, 0, 0], x[:, 0, 0]),
        "join_vectors": (vector, vector),
    }
    chosen = {**kernels.in_use(), **kernels.versions("numpy")}
    print(f"float32 images {_IMAGES} of NumPy, {', '.join(f'{name} {value}' for name, value in chosen.items())}")
    for operation, row in table.TABLE.items():
        serves = table.name_of(table.find(operation, *arguments[operation]) if operation in arguments else None)
        print(f"{operation:33}{serves:17}" + ", ".join(candidate.module for candidate in row))


if __name__ == "__main__":
    main()
