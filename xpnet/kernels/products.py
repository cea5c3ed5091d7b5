"""Products, sums, vectors and batches by operations of the array library."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, array_namespace


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


def matmul(a: Array, b: Array) -> Array:
    """Product of two matrices, (m, k) and (k, n) -> (m, n)."""
    return a @ b


def channel_sum(x: Array) -> Array:
    """Sum over all axes but the last."""
    return array_namespace(x).sum(x, axis=tuple(range(x.ndim - 1)))


def join_vectors(first: Array, *others: Array) -> Array:
    """One vector of several."""
    return array_namespace(first).concat((first, *others))


def take_examples(inputs: Array, targets: Array, indices: Array, dtype: Any) -> tuple[Array, Array]:
    """The inputs and the targets of some examples; to convert the inputs would be a pass of its own."""
    xp = array_namespace(inputs)
    return xp.take(inputs, indices, axis=0), xp.take(targets, indices, axis=0)
