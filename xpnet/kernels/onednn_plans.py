"""What oneDNN is asked for: each operation as a description, and the plan that computes it.

Images lie as (N, H, W, C); to oneDNN that is a matter of strides, since its sizes are in the order N, C, H, W. Weights
are put into whatever order its kernel wants, without which it would take a loop that is a thousand times slower.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

from xpnet.kernels.onednn_library import Library, Plan, UnsupportedError, integers
from xpnet.shapes import Shape, Window

# Numbers of dnnl_types.h.
_TRAINING, _INFERENCE, _BACKWARD = 64, 96, 128
_RELU, _ADD, _MULTIPLY = 0x20, 0x1FFF0, 0x1FFF1
_FIRST_FACTOR, _SECOND_TERM = 32768 | 2, 2 * 32768 | 2  # second operands of the first and second operation
_DIRECT, _MAXIMUM, _AVERAGE_WITH_PADDING = 1, 0x1FF, 0x2FF
_WEIGHTS_MD, _DIFF_WEIGHTS_MD, _WORKSPACE_MD = 131, 132, 135
_GLOBAL_STATISTICS, _SCALE, _SHIFT, _FUSED_RELU = 1, 2, 4, 8
_SRC, _DST, _WEIGHTS, _BIAS, _MEAN, _VARIANCE, _SCALE_ARG, _SHIFT_ARG, _WORKSPACE = 1, 17, 33, 41, 49, 50, 51, 52, 64
_DIFF_SRC, _DIFF_DST, _DIFF_WEIGHTS, _DIFF_BIAS, _DIFF_SCALE, _DIFF_SHIFT = 129, 145, 161, 169, 255, 256


class Convolution(NamedTuple):
    """A convolution of images (N, H, W, C) with a weight (O, kh, kw, C / groups).

    ``scaled``: each channel of the result is multiplied by a number, ahead of the bias; ``relu``: it is at least 0.
    """

    images: Shape
    weight: Shape
    window: Window
    groups: int
    biased: bool
    scaled: bool = False
    relu: bool = False

    def output(self) -> Shape:
        """Shape of y."""
        return (self.images[0], *self.window.output_size(*self.images[1:3]), self.weight[0])

    def forward(self, library: Library, plan: Plan) -> None:
        """Plan of x, weight, scale if there is one, bias if there is one, and y."""
        primitive_desc, layouts = self._forward(library)
        x, weight = plan.array(layouts.x), plan.array(layouts.weight)
        arguments = {_SRC: x, _WEIGHTS: _packed(library, plan, weight, layouts.weight, primitive_desc)}
        if self.scaled:
            arguments[_FIRST_FACTOR] = plan.array(layouts.bias)
        if self.biased:
            arguments[_SECOND_TERM if self.scaled else _BIAS] = plan.array(layouts.bias)
        plan.step(primitive_desc, {**arguments, _DST: plan.array(layouts.y)})

    def input_gradient(self, library: Library, plan: Plan) -> None:
        """Plan of dy, weight and dx."""
        hint, layouts = self._forward(library)
        arguments = (_DIRECT, layouts.x, layouts.any_weight, layouts.y, *self._geometry(), hint, library.attributes)
        primitive_desc = _describe(library, "convolution_backward_data", *arguments)
        dy, weight = plan.array(layouts.y), plan.array(layouts.weight)
        packed = _packed(library, plan, weight, layouts.weight, primitive_desc)
        plan.step(primitive_desc, {_DIFF_DST: dy, _WEIGHTS: packed, _DIFF_SRC: plan.array(layouts.x)})

    def weight_gradient(self, library: Library, plan: Plan) -> None:
        """Plan of x, dy, dw, and db if there is a bias."""
        hint, layouts = self._forward(library)
        arguments = (_DIRECT, layouts.x, layouts.any_weight, layouts.bias, layouts.y)
        arguments = (*arguments, *self._geometry(), hint, library.attributes)
        primitive_desc = _describe(library, "convolution_backward_weights", *arguments)
        x, dy, dw = plan.array(layouts.x), plan.array(layouts.y), plan.array(layouts.weight)
        layout = library.chosen_layout(primitive_desc, _DIFF_WEIGHTS_MD)
        plain = library.same_layout(layout, layouts.weight)
        packed = dw if plain else plan.buffer(layout)
        arguments = {_SRC: x, _DIFF_DST: dy, _DIFF_WEIGHTS: packed}
        if self.biased:
            arguments[_DIFF_BIAS] = plan.array(layouts.bias)
        plan.step(primitive_desc, arguments)
        if not plain:
            plan.reorder((packed, layout), (dw, layouts.weight))

    def _forward(self, library: Library) -> tuple[ctypes.c_void_p, _Layouts]:
        layouts = self._layouts(library)
        bias = None if self.scaled else layouts.bias
        arguments = (_TRAINING, _DIRECT, layouts.x, layouts.any_weight, bias, layouts.y)
        arguments = (*arguments, *self._geometry(), self._attributes(library))
        return _describe(library, "convolution_forward", *arguments), layouts

    def _layouts(self, library: Library) -> _Layouts:
        outputs, kh, kw, channels = self.weight
        sizes, strides = [outputs, channels, kh, kw], [kh * kw * channels, 1, kw * channels, channels]
        if self.groups > 1:
            outputs //= self.groups
            sizes, strides = [self.groups, outputs, *sizes[1:]], [outputs * strides[0], *strides]
        return _Layouts(
            _images(library, self.images),
            library.layout(sizes, strides),
            library.any_layout(sizes),
            _vector(library, self.weight[0]) if self.biased else None,
            _images(library, self.output()),
        )

    def _attributes(self, library: Library) -> ctypes.c_void_p:
        """What is computed with the result before it is written."""
        if not (self.scaled or self.relu):
            return library.attributes
        by_channel = library.layout((1, self.weight[0], 1, 1), (self.weight[0], 1, 1, 1))
        binary = [_MULTIPLY, *([_ADD] if self.biased else [])] if self.scaled else []
        return library.attributes_with(
            *(("binary", algorithm, by_channel) for algorithm in binary),
            *([("eltwise", _RELU, ctypes.c_float(0), ctypes.c_float(0))] if self.relu else []),
        )

    def _geometry(self) -> tuple[Any, ...]:
        """Strides, dilations (0 for none), and padding before and after."""
        window = self.window
        before, after = zip(*window.padding, strict=True)
        dilation = [step - 1 for step in window.dilation]
        return integers(window.stride), integers(dilation), integers(before), integers(after)


class _Layouts(NamedTuple):
    x: Any
    weight: Any
    any_weight: Any
    bias: Any
    y: Any


class Pooling(NamedTuple):
    """A maximum, or a mean with padding counted, over windows of images (N, H, W, C)."""

    images: Shape
    window: Window
    maximum: bool

    def output(self) -> Shape:
        """Shape of y."""
        return (self.images[0], *self.window.output_size(*self.images[1:3]), self.images[3])

    def forward(self, library: Library, plan: Plan) -> None:
        """Plan of x and y."""
        primitive_desc = self._forward(library, _INFERENCE)
        plan.step(primitive_desc, {_SRC: self._array(library, plan), _DST: self._array(library, plan, self.output())})

    def forward_with_winners(self, library: Library, plan: Plan) -> None:
        """Plan of x, y and winners."""
        primitive_desc = self._forward(library, _TRAINING)
        arguments = {_SRC: self._array(library, plan), _DST: self._array(library, plan, self.output())}
        layout = library.chosen_layout(primitive_desc, _WORKSPACE_MD)
        plan.step(primitive_desc, {**arguments, _WORKSPACE: plan.array(layout)})

    def backward(self, library: Library, plan: Plan) -> None:
        """Plan of dy, winners of a maximum, and dx."""
        hint = self._forward(library, _TRAINING)
        x, y = _images(library, self.images), _images(library, self.output())
        arguments = self._algorithm(), x, y, *self._geometry(), hint, library.attributes
        primitive_desc = _describe(library, "pooling_backward", *arguments)
        memories = {_DIFF_DST: plan.array(y)}
        if self.maximum:
            memories[_WORKSPACE] = plan.array(library.chosen_layout(hint, _WORKSPACE_MD))
        plan.step(primitive_desc, {**memories, _DIFF_SRC: plan.array(x)})

    def _forward(self, library: Library, kind: int) -> ctypes.c_void_p:
        x, y = _images(library, self.images), _images(library, self.output())
        arguments = kind, self._algorithm(), x, y, *self._geometry(), library.attributes
        return _describe(library, "pooling_forward", *arguments)

    def _array(self, library: Library, plan: Plan, shape: Shape | None = None) -> Any:
        return plan.array(_images(library, shape or self.images))

    def _algorithm(self) -> int:
        return _MAXIMUM if self.maximum else _AVERAGE_WITH_PADDING

    def _geometry(self) -> tuple[Any, ...]:
        before, after = zip(*self.window.padding, strict=True)
        return tuple(map(integers, (self.window.stride, self.window.kernel, (0, 0), before, after)))


class BatchNorm(NamedTuple):
    """Batch normalisation of x (..., C), with a ReLU after it if ``relu``; ``constant``: the statistics are given."""

    shape: Shape
    eps: float
    constant: bool
    relu: bool

    def forward(self, library: Library, plan: Plan) -> None:
        """Plan of x, weight, bias, mean, variance, y, and with a ReLU what it let through."""
        primitive_desc, x, channels = self._forward(library)
        memories = {_SRC: plan.array(x)}
        for argument in (_SCALE_ARG, _SHIFT_ARG, _MEAN, _VARIANCE):
            memories[argument] = plan.array(channels)
        memories[_DST] = plan.array(x)
        plan.step(primitive_desc, memories | self._passed(library, plan, primitive_desc))

    def backward(self, library: Library, plan: Plan) -> None:
        """Plan of dy, x, weight, mean, variance, dx, dweight, dbias, and with a ReLU what it let through."""
        hint, x, channels = self._forward(library)
        eps, flags = ctypes.c_float(self.eps), self._flags()
        primitive_desc = _describe(
            library, "batch_normalization_backward", _BACKWARD, x, x, x, eps, flags, hint, library.attributes
        )
        memories = {_DIFF_DST: plan.array(x), _SRC: plan.array(x)}
        for argument in (_SCALE_ARG, _MEAN, _VARIANCE):
            memories[argument] = plan.array(channels)
        memories[_DIFF_SRC] = plan.array(x)
        for argument in (_DIFF_SCALE, _DIFF_SHIFT):
            memories[argument] = plan.array(channels)
        plan.step(primitive_desc, memories | self._passed(library, plan, hint))

    def _forward(self, library: Library) -> tuple[ctypes.c_void_p, Any, Any]:
        x, channels = _images(library, self._as_images()), _vector(library, self.shape[-1])
        eps, flags = ctypes.c_float(self.eps), self._flags()
        arguments = _TRAINING, x, x, eps, flags, library.attributes
        return _describe(library, "batch_normalization_forward", *arguments), x, channels

    def _passed(self, library: Library, plan: Plan, forward: ctypes.c_void_p) -> dict[int, Any]:
        return {_WORKSPACE: plan.array(library.chosen_layout(forward, _WORKSPACE_MD))} if self.relu else {}

    def _as_images(self) -> Shape:
        """The shape of x, or for rows (N, C) that of one image."""
        return self.shape if len(self.shape) == 4 else (1, math.prod(self.shape[:-1]), 1, self.shape[-1])

    def _flags(self) -> int:
        return _SCALE | _SHIFT | (_GLOBAL_STATISTICS if self.constant else 0) | (_FUSED_RELU if self.relu else 0)


def _describe(library: Library, operation: str, *arguments: Any) -> ctypes.c_void_p:
    """The description of a primitive; UnsupportedError where a plain loop would compute it."""
    primitive_desc = library.create(f"{operation}_primitive_desc", library.engine, *arguments)
    name = library.implementation(primitive_desc)
    if "ref" in name:
        raise UnsupportedError(f"{operation} has the implementation {name} only")
    return primitive_desc


def _packed(library: Library, plan: Plan, weight: Any, layout: Any, primitive_desc: ctypes.c_void_p) -> Any:
    """A weight in the order that a primitive wants."""
    wanted = library.chosen_layout(primitive_desc, _WEIGHTS_MD)
    if library.same_layout(wanted, layout):
        return weight
    packed = plan.buffer(wanted)
    plan.reorder((weight, layout), (packed, wanted))
    return packed


def _images(library: Library, shape: Shape) -> ctypes.c_void_p:
    batch, height, width, channels = shape
    strides = (height * width * channels, 1, width * channels, channels)
    return library.layout((batch, channels, height, width), strides)


def _vector(library: Library, length: int) -> ctypes.c_void_p:
    return library.layout((length,), (1,))
