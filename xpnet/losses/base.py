"""What every loss is, the weighted mean over a batch, and the checks of outputs, targets and weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from array_api_compat import device

from xpnet.backend import Array, array_namespace, check_array, has_kind, is_readable, location, same_location, to_numpy
from xpnet.errors import InputError, short

Cache = Mapping[str, Array]
Target = Literal["classes", "binary", "real"]


_MEMBERS = ("target", "check", "forward", "backward", "predictions", "probabilities")


class LossForward(NamedTuple):
    """The loss as an array without axes, and what backward needs."""

    loss: Array
    cache: Cache


class Loss(Protocol):
    """What a network can be trained on: a pure function of outputs and targets, with its gradient.

    The loss of a batch is the weighted mean over its examples, 0 if all weights are 0:

        L = sum_n w_n l_n / sum_n w_n

    ``target`` says what targets it takes: class numbers, 0/1 or real numbers.
    """

    target: ClassVar[Target]

    def check(self, outputs: Array, targets: Array) -> None:
        """Raise InputError unless the targets are of a kind, shape and place that fit the outputs."""
        ...

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``; ``weights`` (N,) of the examples, None: all 1."""
        ...

    def backward(self, cache: Cache) -> Array:
        """Gradient with respect to the outputs."""
        ...

    def predictions(self, outputs: Array) -> Array:
        """What the outputs say: class numbers (N, ...), booleans or real numbers; (N, 1) becomes (N,)."""
        ...

    def probabilities(self, outputs: Array) -> Array:
        """Probabilities of each class or label; raises InputError for a loss of real numbers."""
        ...


def checked_loss(where: str, loss: Any) -> Any:
    """A loss as it is. Raises InputError for anything else, naming the first member of ``Loss`` that it lacks."""
    if isinstance(loss, type):
        raise InputError(
            f"{where}: expected loss to be a loss, got the class {loss.__name__}. "
            f"Pass an instance such as {loss.__name__}()."
        )
    missing = [name for name in _MEMBERS if not hasattr(loss, name)]
    if missing:
        raise InputError(
            f"{where}: expected loss to be a loss such as xpnet.losses.Huber(), got {short(loss)} without "
            f"{missing[0]}. Pass one of xpnet.losses, or define {', '.join(_MEMBERS)}."
        )
    return loss


def example_factors(outputs: Array, weights: Array | None, class_weights: Array | None = None) -> Array:
    """What multiplies the loss of each example in the weighted mean: (N,).

        f_n = w_n / sum_m w_m c_m,  0 if the sum is 0

    ``weights`` w and ``class_weights`` c, of each example's true class, are (N,), or 1 where they are None.

    Raises InputError unless the weights are one real number for each example and, on the host, finite and not negative.
    """
    xp, count = array_namespace(outputs), outputs.shape[0]
    if weights is None and class_weights is None:
        return xp.full((count,), 1 / count, dtype=outputs.dtype, device=device(outputs))
    if weights is None:
        weights = xp.ones((count,), dtype=outputs.dtype, device=device(outputs))
    else:
        check_weights(outputs, weights)
        weights = xp.astype(weights, outputs.dtype)
    total = xp.sum(weights if class_weights is None else weights * class_weights)
    is_zero = total == 0
    return xp.where(is_zero, xp.zeros_like(weights), weights / xp.where(is_zero, xp.ones_like(total), total))


def output_factors(outputs: Array, weights: Array | None) -> Array:
    """What multiplies the loss of each output (N,) or (N, K): f_n, or a column of f_n / K."""
    factors = example_factors(outputs, weights)
    return factors if outputs.ndim == 1 else factors[:, None] / outputs.shape[1]


def one_column_less(outputs: Array) -> Array:
    """Outputs (N, 1) as (N,); others as they are."""
    return outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs


def targets_like(outputs: Array, targets: Array) -> Array:
    """Targets in the shape and dtype of the outputs."""
    xp = array_namespace(outputs)
    return xp.reshape(xp.astype(targets, outputs.dtype), outputs.shape)


def check_classes(where: str, outputs: Array, targets: Array) -> None:
    """Refuse anything but outputs (N, ..., K) and class numbers (N, ...), on the host also those not below K."""
    _check_arrays(where, outputs, targets)
    if outputs.ndim < 2 or tuple(outputs.shape[:-1]) != tuple(targets.shape) or 0 in outputs.shape:
        raise InputError(
            f"{where}: expected outputs (N, classes) and targets (N,), or (N, H, W, classes) and (N, H, W), got shapes "
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}. Pass one class number for each row of outputs."
        )
    if not has_kind(targets, "integral"):
        raise InputError(
            f"{where}: expected class numbers of an integer dtype as targets, got {targets.dtype}. "
            "Convert them, or use BinaryCrossEntropy for 0/1 targets, MeanSquaredError for real ones."
        )
    classes = outputs.shape[-1]
    if is_readable(targets):
        values = to_numpy(targets)
        least, most = values.min(), values.max()
        if least < 0 or most >= classes:
            raise InputError(
                f"{where}: expected targets from 0 to {classes - 1}, got {least} to {most}. "
                "Use class numbers, and as many outputs as there are classes."
            )


def check_same_shape(where: str, outputs: Array, targets: Array) -> None:
    """Refuse anything but outputs (N,), (N, 1) or (N, K) and targets of that shape; (N,) and (N, 1) count as one."""
    _check_arrays(where, outputs, targets)
    shapes = [(*array.shape, 1) if array.ndim == 1 else tuple(array.shape) for array in (outputs, targets)]
    if len(shapes[0]) != 2 or shapes[0] != shapes[1] or 0 in shapes[0]:
        are_classes = outputs.ndim == 2 and targets.ndim == 1 and has_kind(targets, "integral")
        raise InputError(
            f"{where}: expected outputs (N,) or (N, K) and targets of the same shape, got shapes "
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}. "
            f"{'Use SoftmaxCrossEntropy for class numbers.' if are_classes else 'Pass one target for each output.'}"
        )


def checked_class_weights(where: str, weights: Iterable[float] | None) -> tuple[float, ...] | None:
    """Class weights as a tuple. Raises InputError unless they are finite, not negative, and one is above 0."""
    if weights is None:
        return None
    try:
        numbers = tuple(map(float, weights))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected class_weights to be numbers, got {short(weights)}. Pass one for each class."
        ) from error
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or not any(numbers):
        raise InputError(
            f"{where}: expected finite class_weights of at least 0 and one above, got {short(numbers)}. "
            "Change class_weights."
        )
    return numbers


def check_class_weights(where: str, weights: tuple[float, ...] | None, outputs: Array) -> None:
    """Refuse class weights that are not one for each column of outputs."""
    if weights is not None and len(weights) != outputs.shape[-1]:
        raise InputError(
            f"{where}: expected class_weights for {outputs.shape[-1]} classes, got {len(weights)}. "
            "Pass one for each class."
        )


def _check_arrays(where: str, outputs: Array, targets: Array) -> None:
    check_array(f"{where}, outputs", outputs)
    check_array(f"{where}, targets", targets)
    if not same_location(outputs, targets):
        raise InputError(
            f"{where}: expected outputs and targets of one library on one device, got {_place(outputs)} and "
            f"{_place(targets)}. Move the targets."
        )
    if not has_kind(outputs, "real floating"):
        raise InputError(
            f"{where}: expected outputs of a floating-point dtype, got {outputs.dtype}. Convert them to float32."
        )


def check_weights(outputs: Array, weights: Array) -> None:
    """Refuse weights that are not one real number for each example and, on the host, finite and at least 0."""
    check_array("Loss, weights", weights)
    if tuple(weights.shape) != (outputs.shape[0],):
        raise InputError(
            f"Loss: expected weights ({outputs.shape[0]},), got shape {tuple(weights.shape)}. "
            "Pass one for each example."
        )
    if not same_location(outputs, weights):
        raise InputError(
            f"Loss: expected outputs and weights of one library on one device, got {_place(outputs)} and "
            f"{_place(weights)}. Move the weights."
        )
    if not has_kind(weights, ("bool", "integral", "real floating")):
        raise InputError(f"Loss: expected weights to be real numbers, got {weights.dtype}. Convert them to float32.")
    if is_readable(weights):
        values = to_numpy(weights)
        least, most = values.min(), values.max()
        if not (least >= 0 and most < math.inf):
            raise InputError(f"Loss: expected finite weights of at least 0, got {least} to {most}. Change the weights.")


def _place(array: Array) -> str:
    library, where = location(array)
    return library if where is None else f"{library} on {where}"
