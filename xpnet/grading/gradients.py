"""A student's forward and backward as a layer or a loss of xpnet, for its gradient checker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xpnet.gradcheck import TOLERANCE, Entry, check_layer, check_loss, separated_values
from xpnet.grading.diagnosis import listed, wrong_outputs
from xpnet.grading.exercises import Exercise, LayerGradient, Verdict
from xpnet.layers.base import Backward, Forward, Layer, Variables
from xpnet.losses.base import LossForward
from xpnet.random import generator
from xpnet.shapes import Shape

Functions = Sequence[Callable[..., Any]]


@dataclass(frozen=True)
class StudentLayer(Layer):
    """y = forward(x, *params);  dx, *grads = backward(x, *params but the last, dy): a bias is of no use there."""

    forward_function: Callable[..., Any]
    backward_function: Callable[..., Any]
    shapes: LayerGradient
    prefix: ClassVar[str] = "student"

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.shapes.output_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        params = {name: rng.standard_normal(shape) for name, shape in self.shapes.params.items()}
        return Variables(params, {}, self.shapes.output_shape)

    def forward(self, params: Mapping, state: Mapping, x: Any, *, train: bool = False, key: Any = None) -> Forward:
        return Forward(self.forward_function(x, *params.values()), {"x": x} if train else None, state)

    def backward(self, params: Mapping, cache: Any, dy: Any, *, need_dx: bool = True) -> Backward:
        if not params:
            return Backward(self.backward_function(cache["x"], dy), {})
        dx, *grads = self.backward_function(cache["x"], *list(params.values())[:-1], dy)
        return Backward(dx, dict(zip(params, grads, strict=True)))


@dataclass(frozen=True)
class StudentLoss:
    """loss, gradient = function(outputs, targets)."""

    function: Callable[..., Any]
    target: ClassVar = "classes"

    def forward(self, outputs: Any, targets: Any, weights: Any = None) -> LossForward:
        """Both at once."""
        loss, gradient = self.function(outputs, targets)
        return LossForward(loss, {"gradient": gradient})

    def backward(self, cache: Any) -> Any:
        """The gradient that forward has computed."""
        return cache["gradient"]


def with_gradient_check(exercise: Exercise, functions: Functions, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, the last one with what the gradient check adds.

    Where all numbers are right it must pass. Where both forward and backward are wrong and it passes, backward is the
    derivative of that forward, which thus is what to correct.
    """
    *others, last = verdicts
    forward_is_right = all(verdict.state == "right" for verdict in others)
    if "to do" in {verdict.state for verdict in verdicts} or (others and forward_is_right != (last.state == "right")):
        return list(verdicts)
    failure = _failure(exercise, functions)
    if last.state == "right" and failure:
        return [*others, Verdict(last.name, "wrong", f"fails the gradient check: {failure}.")]
    if last.state == "wrong" and not failure and _gradients_differ(exercise, functions):
        names = [output for output in exercise.tasks[-1].outputs if output != "loss"]
        gradient = f"{listed(names)} {'are the gradients' if names[1:] else 'is the gradient'}"
        forward = f"your {others[0].name}, so correct that first" if others else "this loss"
        return [*others, Verdict(last.name, "wrong", f"{last.sentence.removesuffix('.')}; {gradient} of {forward}.")]
    return list(verdicts)


def _gradients_differ(exercise: Exercise, functions: Functions) -> bool:
    """Whether both forward and backward have wrong values, not only an overflow or a changed argument."""
    return all(set(wrong_outputs(*both)) - {"loss"} for both in zip(exercise.tasks, functions, strict=True))


def _failure(exercise: Exercise, functions: Functions) -> str:
    """The largest disagreement, or what was raised; empty if all agrees."""
    try:
        with np.errstate(all="ignore"):
            entries = _entries(exercise, functions)
    except Exception as error:
        return f"{type(error).__name__} ({' '.join(str(error).split())})".rstrip(".")
    worst = max(entries, key=lambda entry: np.nan_to_num(entry.relative_difference, nan=np.inf))
    if worst.relative_difference <= TOLERANCE:
        return ""
    where = f"[{', '.join(map(str, worst.index))}]" if worst.index else ""
    return f"d{worst.name}{where} is {worst.backward:.6g}, finite difference {worst.finite_difference:.6g}"


def _entries(exercise: Exercise, functions: Functions) -> list[Entry]:
    if isinstance(exercise.gradient, LayerGradient):
        layer = StudentLayer(functions[0], functions[1], exercise.gradient)
        return check_layer(layer, exercise.gradient.input_shape, batch=3)
    rng = generator(0)
    return check_loss(StudentLoss(*functions), separated_values(rng, (3, 4)), rng.integers(0, 4, 3))  # pyright: ignore
