"""Layers with values, as an import puts them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet import layers
from xpnet.errors import InputError
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node
from xpnet.shapes import Shape

MOST_REPEATED = 2**20  # channels that take one number of the file
LARGEST_OUTPUT = 2**28  # values that a layer makes of one example


class Signal(NamedTuple):
    """A value of the graph: its shape as xpnet's layers have it, without the batch, and how it lies in the graph.

    With ``first`` the graph has the channels in front, ``flat_of`` is the shape (H, W, C) of images that it flattened
    that way. ``view`` says what a Reshape or the like has made of it for the next node, which must be of one kind.
    """

    shape: Shape
    first: bool = False
    flat_of: Shape | None = None
    view: tuple[Any, ...] = ()

    @property
    def channel_axis(self) -> int:
        """Which axis of the graph's value, counted with the batch, holds the channels."""
        return 1 if self.first else len(self.shape)

    @property
    def lengths(self) -> list[int]:
        """The graph's own shape, without the batch."""
        return [self.shape[-1], *self.shape[:-1]] if self.first else list(self.shape)

    def per_channel(self, node: Node, array: np.ndarray) -> np.ndarray:
        """A constant that is the same at all places, as a vector over the channels in xpnet's order."""
        rank, channels = len(self.shape) + 1, self.shape[-1]
        shape = (1,) * (rank - array.ndim) + array.shape
        is_vector = len(shape) == rank and all(n == 1 or at == self.channel_axis for at, n in enumerate(shape))
        if not is_vector or shape[self.channel_axis] not in (1, channels):
            raise node.error(
                f"expected one number or one for each of {channels} channels, got shape {array.shape}",
                "Only such constants are known.",
            )
        if channels > MOST_REPEATED and array.size == 1:
            raise node.error(
                f"expected at most {MOST_REPEATED:,} channels for one number, got {channels:,}", "Give each one."
            )
        vector = np.broadcast_to(array.reshape(-1), (channels,))
        return to_channels_last(vector, self.flat_of) if self.flat_of else vector


def to_channels_last(array: np.ndarray, shape: Shape) -> np.ndarray:
    """Values on the last axis, those of flattened images in the order (C, H, W), in the order (H, W, C)."""
    images = array.reshape(*array.shape[:-1], shape[-1], *shape[:-1])
    return np.moveaxis(images, -len(shape), -1).reshape(array.shape)


class Part(NamedTuple):
    """A layer and its values."""

    layer: Layer
    params: Mapping[str, Any]
    state: Mapping[str, Any]


_SCALED_ALONG = {
    layers.Conv1D: 0,
    layers.Conv2D: 0,
    layers.DepthwiseConv2D: 0,
    layers.ConvTranspose2D: -1,
    layers.Dense: 0,
    layers.BatchNorm: 0,
    layers.LayerNorm: 0,
    layers.GroupNorm: 0,
}


class Parts:
    """Layers one after another, with the shape of what the first of them takes."""

    def __init__(self, input_shape: Shape) -> None:
        self.parts: list[Part] = []
        self.shape = tuple(input_shape)

    def add(self, node: Node | None, layer: Layer, params: Any = None, state: Any = None) -> Shape:
        """Append a layer; returns the shape of its output. Raises InputError, naming the node, if it does not fit."""
        try:
            shape = tuple(layer.output_shape(self.shape))
        except ValueError as error:
            raise node.error(str(error).rstrip("."), "Check the model.") if node else error from error
        if node:
            check_size(node, shape)
        self.parts.append(Part(layer, params or {}, state or {}))
        self.shape = shape
        return shape

    def ends_with(self, kind: type[Layer]) -> bool:
        """Whether the last layer is of a class."""
        return bool(self.parts) and type(self.parts[-1].layer) is kind

    def pop(self, shape: Shape) -> None:
        """Leave out the last layer, which took this shape."""
        self.parts.pop()
        self.shape = shape

    def affine(self, node: Node, scale: np.ndarray, shift: np.ndarray) -> None:
        """Append y = scale x + shift with a factor for each channel: inside the last layer, or as a ``Normalize``."""
        last = self.parts[-1] if self.parts else None
        if last and type(last.layer) in _SCALED_ALONG:
            self.parts[-1] = _scaled(last, scale, shift)
        elif last and type(last.layer) is layers.Normalize and np.all(last.state["scale"] * scale != 0):
            factor = last.state["scale"] * scale
            mean = last.state["mean"] - shift / factor
            self.parts[-1] = last._replace(state={"mean": mean, "scale": factor})
        elif np.all(scale != 0):
            self.add(node, layers.Normalize(), {}, {"mean": -shift / scale, "scale": np.array(scale)})
        else:
            raise node.error("expected factors other than 0, got 0", "Remove such channels.")

    def flatten(self) -> None:
        """Append a Flatten, or make it one with pooling over the whole image in front of it."""
        pooled = {layers.AdaptiveAvgPool2D: layers.GlobalAvgPool2D, layers.MaxPool2D: layers.GlobalMaxPool2D}
        last = self.parts[-1].layer if self.parts else None
        is_global = isinstance(last, layers.AdaptiveAvgPool2D) or (
            isinstance(last, layers.MaxPool2D) and last.stride is None and last.padding == 0
        )
        if last is not None and is_global and self.shape[:-1] == (1, 1):
            self.parts[-1] = Part(pooled[type(last)](), {}, {})
            self.shape = self.shape[-1:]
        else:
            self.add(None, layers.Flatten())

    def end_as_logits(self, y: Signal) -> None:
        """Leave out a last softmax, which the loss has, and make an image of one pixel a vector."""
        if y.view or (y.flat_of and math.prod(y.flat_of[:-1]) > 1):
            raise InputError("ONNX output: expected it to follow a layer, got a Reshape. End with a dense layer.")
        if self.ends_with(layers.Softmax) and math.prod(self.shape[:-1]) == 1:
            self.pop(self.shape)
        if len(self.shape) == 3 and self.shape[:2] == (1, 1):
            self.flatten()

    def sequential(self) -> Part:
        """All as one ``Sequential``."""
        parts = self.parts or [Part(layers.Identity(), {}, {})]
        container = layers.Sequential([part.layer for part in parts])
        return contained(container, [name for name, _ in container.layers], parts)

    def single(self) -> Part:
        """The layer alone if there is one only."""
        return self.parts[0] if len(self.parts) == 1 else self.sequential()


def check_size(node: Node, shape: Sequence[int]) -> None:
    """Raise InputError for a shape of more values than a layer may make of one example."""
    if math.prod(shape) > LARGEST_OUTPUT:
        lengths = " x ".join(f"{n:,}" for n in shape)
        raise node.error(
            f"expected at most {LARGEST_OUTPUT:,} values of each example, got {lengths}", "Check the node's settings."
        )


def contained(container: Layer, names: list[str], parts: list[Part]) -> Part:
    """A container with the values of the layers in it."""
    params = {name: part.params for name, part in zip(names, parts, strict=True)}
    return Part(container, params, {name: part.state for name, part in zip(names, parts, strict=True)})


def _scaled(part: Part, scale: np.ndarray, shift: np.ndarray) -> Part:
    """The layer with its outputs scaled and shifted."""
    axis, weight, layer = _SCALED_ALONG[type(part.layer)], part.params["weight"], part.layer
    along = np.reshape(scale, (-1, *(1,) * (weight.ndim - 1))) if axis == 0 else scale
    bias = part.params.get("bias", np.zeros(len(scale), weight.dtype)) * scale + shift
    if np.any(bias) or "bias" in part.params:
        layer = replace(layer, bias=True) if hasattr(layer, "bias") else layer  # pyright: ignore
        return Part(layer, {"weight": weight * along, "bias": bias}, part.state)
    return Part(layer, {"weight": weight * along}, part.state)
