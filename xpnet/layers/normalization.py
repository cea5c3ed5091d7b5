"""Layers that shift and scale channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet.backend import Array
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Normalize(Layer):
    """Fixed shift and scale of each input channel, learned from the training images and kept with the network.

        y = (x - mean) * scale

    Being a layer, it travels with the weights: a trained network takes images as they come from the data set. Until the
    trainer (or ``Network.set_normalization``) sets it, mean is 0 and scale is 1.

    Backward, with g = dL/dy:  dx = g * scale.

    Shapes: x (..., C) -> y (..., C).  State: mean (C,), scale (C,).
    """

    prefix: ClassVar[str] = "normalize"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        channels = input_shape[-1]
        return Variables({}, {"mean": np.zeros(channels), "scale": np.ones(channels)}, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        channels, expected = x.shape[-1], state["mean"].shape[0]
        if channels != expected:
            raise self.error(f"expected {expected} channels, got {channels}. Give it the input shape it was built for.")
        y = (x - state["mean"]) * state["scale"]
        return Forward(y, {"scale": state["scale"]} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy * self.saved(cache)["scale"] if need_dx else None, {})
