"""Gradients that are shortened before the step."""

from __future__ import annotations

from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero


def clip_by_global_norm(gradient: Array, max_norm: float) -> Array:
    """The gradient, shortened to a length of ``max_norm`` where it is longer; the direction stays.

        g = g·min(1, max_norm/(‖g‖ + 10⁻⁶)),  ‖g‖ = c·‖g/c‖ with c = max(1, max |g|)

    With c no square overflows. Nothing is read back to the host. A gradient that is not finite stays so, and shows in
    the next loss.

    Raises InputError if the max_norm is not above 0.  Source: Pascanu, Mikolov and Bengio, ICML 2013; the 10⁻⁶ is from
    PyTorch.
    """
    check_clip_norm(max_norm)
    xp = array_namespace(gradient)
    largest = xp.max(xp.abs(gradient))
    one = xp.ones_like(largest)
    scale = xp.maximum(largest, one)
    scaled = gradient / scale
    norm = scale * xp.sqrt(xp.sum(scaled * scaled))
    return gradient * xp.minimum(one, max_norm / (norm + 1e-6))


def check_clip_norm(max_norm: float) -> None:
    """Raise InputError unless gradients can be shortened to this length."""
    check_above_zero("Clipping", "norm", max_norm, "Try 1.")
