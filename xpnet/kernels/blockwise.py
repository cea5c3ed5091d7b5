"""An optimizer's step on one part of the vectors after the other, so that what it computes between stays in the cache.

The optimizers of ``xpnet.optimizers`` work element by element, so the parts give what the whole would, to the last bit.
For libraries that compute each operation at once and can write into a part of an array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from array_api_compat import is_numpy_array, is_torch_array

from xpnet.backend import Array, array_namespace, on_accelerator
from xpnet.kernels.sharing import blas_has_one_thread, even_slices, parallel_map
from xpnet.optimizers import OPTIMIZERS

Arrays = Mapping[str, Array]

_BLOCK = 2**16  # elements: in float32, what a step reads and writes of them stays in 2 MB of second-level cache
_TORCH_BLOCK = 3 * 2**17  # an operation of PyTorch's costs microseconds beside what it computes


def serves(operation: str, theta: Array, optimizer: Any, *arguments: Any) -> bool:
    """Whether the optimizer is one of ours, and θ of such a library, in the computer's own memory and long enough."""
    if type(optimizer) not in OPTIMIZERS.values() or theta.shape[0] <= _block(theta):
        return False
    return (is_numpy_array(theta) or is_torch_array(theta)) and not on_accelerator(theta)


def optimizer_update(
    theta: Array, optimizer: Any, gradient: Array, state: Arrays, lr_scale: Any, decay_mask: Any
) -> tuple[Array, Arrays]:
    """One step by the optimizer's own ``update``; threads that share NumPy's convolutions share the parts too."""
    xp, shape = array_namespace(theta), theta.shape
    state = {name: state[name] for name in optimizer.init(theta[:1])}  # without what others keep there
    new_theta, new_state = xp.empty_like(theta), {name: xp.empty_like(array) for name, array in state.items()}

    def part(array: Any, block: slice) -> Any:
        return array[block] if getattr(array, "shape", None) == shape else array

    def update(block: slice) -> None:
        parts = {name: part(array, block) for name, array in state.items()}
        factors = {"lr_scale": lr_scale, "decay_mask": part(decay_mask, block)}
        new_theta[block], after = optimizer.update(theta[block], gradient[block], parts, **factors)
        for name, array in after.items():
            part(new_state[name], block)[...] = array

    # Threads are not begun for this: a network without convolutions would lose more with BLAS's than it gains.
    is_shared = is_numpy_array(theta) and blas_has_one_thread()
    parallel_map(update, even_slices(shape[0], _block(theta)), math.inf if is_shared else 0)
    return new_theta, new_state


def _block(theta: Array) -> int:
    return _BLOCK if is_numpy_array(theta) else _TORCH_BLOCK
