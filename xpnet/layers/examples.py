"""One list of example layers, for the tests, the gradient check and whoever wants to see how a layer is written.

Whoever writes a layer adds a row for each way through its code.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from xpnet import layers
from xpnet.shapes import Shape


class Example(NamedTuple):
    """A layer and the shape of one example that it takes."""

    layer: layers.Layer
    input_shape: Shape

    def __str__(self) -> str:
        """The layer's kind with the settings that are not the default, or the names of the layers in it."""
        shown = [name for name, *_ in self.layer.sublayers(self.input_shape)] or [
            f"{field.name}={value!r}"
            for field in dataclasses.fields(self.layer)
            if (value := getattr(self.layer, field.name)) != field.default
        ]
        return f"{type(self.layer).__name__}({', '.join(shown)})"


# Odd and unequal lengths, so that mixed-up axes show.
EXAMPLES = (
    Example(layers.Dense(4), (6,)),
    Example(layers.Dense(4), (3, 5)),
    Example(layers.Conv2D(3, kernel_size=(3, 2), padding=(1, 0)), (5, 4, 2)),
    Example(layers.Conv2D(3, kernel_size=3, padding="same"), (5, 6, 2)),
    Example(layers.Conv2D(2, kernel_size=3, stride=2, padding=1, dilation=(1, 2)), (6, 7, 3)),
    Example(layers.Conv2D(3, kernel_size=3, padding=2, dilation=2), (6, 7, 2)),
    Example(layers.Conv2D(4, kernel_size=3, stride=2, padding=1, groups=2, bias=False), (5, 6, 4)),
    Example(layers.Conv2D(3, kernel_size=1, stride=2), (5, 4, 2)),
    Example(layers.Conv1D(3, kernel_size=3, stride=2, padding=1), (6, 2)),
    Example(layers.Conv1D(4, kernel_size=2, padding="same", dilation=2, groups=2, bias=False), (5, 4)),
    Example(layers.DepthwiseConv2D(3, stride=2, padding=1), (5, 6, 3)),
    Example(layers.DepthwiseConv2D((2, 3), multiplier=2, bias=False), (4, 5, 2)),
    Example(layers.ConvTranspose2D(3, kernel_size=2, stride=2), (3, 4, 2)),
    Example(layers.ConvTranspose2D(2, (3, 2), stride=(2, 1), padding=1, output_padding=(1, 0), bias=False), (3, 4, 3)),
    Example(layers.ConvTranspose2D(2, kernel_size=3, padding=1, dilation=2), (3, 4, 3)),
    Example(layers.Upsample2D((2, 3)), (3, 4, 2)),
    Example(layers.Upsample2D((3, 2), mode="bilinear"), (3, 4, 2)),
    Example(layers.Upsample2D(2, mode="bilinear"), (1, 4, 2)),
    Example(layers.MaxPool2D(2), (4, 5, 3)),
    Example(layers.MaxPool2D(3, stride=2, padding=1), (5, 6, 2)),
    Example(layers.MaxPool2D((3, 2), stride=2, ceil=True), (6, 5, 2)),
    Example(layers.AvgPool2D(2), (4, 5, 3)),
    Example(layers.AvgPool2D((3, 2), stride=(2, 1), padding=(1, 0)), (5, 6, 2)),
    Example(layers.AvgPool2D(3, stride=2, padding=(1, 0), ceil=True), (6, 4, 2)),
    Example(layers.AvgPool2D(3, stride=2, padding=1, ceil=True, count_padding=False), (6, 5, 2)),
    Example(layers.GlobalAvgPool2D(), (3, 4, 2)),
    Example(layers.GlobalAvgPool1D(), (5, 3)),
    Example(layers.GlobalMaxPool2D(), (3, 4, 2)),
    Example(layers.AdaptiveAvgPool2D((2, 3)), (5, 6, 2)),
    Example(layers.AdaptiveAvgPool2D((3, 5)), (4, 3, 2)),
    Example(layers.ReLU(), (4, 5, 2)),
    Example(layers.ReLU6(), (4, 5, 2)),
    Example(layers.LeakyReLU(0.1), (4, 5, 2)),
    Example(layers.PReLU(), (4, 5, 2)),
    Example(layers.ELU(0.7), (4, 5, 2)),
    Example(layers.SELU(), (4, 5, 2)),
    Example(layers.Sigmoid(), (4, 5, 2)),
    Example(layers.HardSigmoid(), (4, 5, 2)),
    Example(layers.Tanh(), (4, 5, 2)),
    Example(layers.Softplus(), (4, 5, 2)),
    Example(layers.SiLU(), (4, 5, 2)),
    Example(layers.HardSwish(), (4, 5, 2)),
    Example(layers.GELU(), (4, 5, 2)),
    Example(layers.GELU(approximate="tanh"), (4, 5, 2)),
    Example(layers.Softmax(), (6,)),
    Example(layers.Softmax(), (3, 4, 2)),
    Example(layers.Dropout(0.4), (4, 5, 2)),
    Example(layers.SpatialDropout(0.4), (4, 5, 2)),
    Example(layers.StochasticDepth(0.4), (4, 5, 2)),
    Example(layers.BatchNorm(), (6,)),
    Example(layers.BatchNorm(momentum=0.3), (4, 5, 2)),
    Example(layers.BatchNorm(frozen=True), (4, 5, 2)),
    Example(layers.LayerNorm(), (6,)),
    Example(layers.LayerNorm(eps=1e-3), (4, 5, 3)),
    Example(layers.GroupNorm(groups=2), (3, 5, 4)),
    Example(layers.GroupNorm(groups=3), (4, 5, 3)),
    Example(layers.RMSNorm(), (5, 3)),
    Example(layers.LocalResponseNorm(3, alpha=0.5, k=2.0), (3, 4, 5)),
    Example(layers.Normalize(), (4, 5, 3)),
    Example(layers.Flatten(), (3, 4, 2)),
    Example(layers.Identity(), (3, 4, 2)),
    Example(layers.ImageToSequence(), (3, 4, 2)),
    Example(layers.ZeroPad2D(((0, 1), (2, 1))), (3, 4, 2)),
    Example(layers.ChannelShuffle(2), (3, 4, 6)),
    Example(layers.PadChannels(1, 2), (3, 4, 2)),
    Example(
        layers.Residual(layers.Sequential([layers.BatchNorm(), layers.Tanh(), ("a", layers.Conv2D(2, 3, padding=1))])),
        (4, 3, 2),
    ),
    Example(
        layers.Residual(
            layers.Sequential([("a", layers.Conv2D(4, 3, stride=2, padding=1)), layers.Dropout(0.3), layers.Tanh()]),
            shortcut=layers.Conv2D(4, kernel_size=1, stride=2),
        ),
        (4, 5, 2),
    ),
    Example(
        layers.Add([layers.Identity(), layers.Tanh(), layers.Sequential([layers.Dropout(0.3), layers.Softplus()])]),
        (4, 3, 2),
    ),
    Example(
        layers.Concat([("a", layers.Conv2D(3, 3, padding=1)), ("skip", layers.Identity()), layers.SpatialDropout(0.3)]),
        (4, 3, 2),
    ),
    Example(
        layers.ScaleBy(layers.Sequential([layers.GlobalAvgPool2D(), ("a", layers.Dense(3)), layers.Sigmoid()])),
        (4, 5, 3),
    ),
    Example(layers.ScaleBy(layers.Sequential([("a", layers.Conv2D(2, 1)), layers.Tanh()])), (4, 5, 2)),
    Example(layers.LearnedPositions(), (5, 4)),
    Example(layers.Embedding(5, units=3), (4,)),
    Example(layers.Sequential([layers.Embedding(5, units=4), layers.SinusoidalPositions()]), (3,)),
    Example(layers.SinusoidalPositions(), (5, 4)),
    Example(layers.ClassToken(), (4, 3)),
    Example(layers.FirstPlace(), (4, 3)),
    Example(layers.SelfAttention(), (4, 6)),
    Example(layers.SelfAttention(heads=2, causal=True), (4, 12)),
    Example(layers.SelfAttention(mask=("101", "011", "100")), (3, 6)),
    Example(layers.multi_head_self_attention(4, heads=2), (5, 3)),
    Example(
        layers.Sequential(
            [
                layers.Normalize(),
                ("a", layers.Conv2D(2, kernel_size=3, padding="same")),
                layers.ReLU(),
                layers.MaxPool2D(2),
                layers.Flatten(),
                layers.Dense(3),
            ]
        ),
        (4, 4, 1),
    ),
)
