"""What is measured: one network at one batch size, with all that every implementation of it must share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import models
from xpnet.checks import pick
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, GlobalAvgPool2D, Layer, Normalize, ReLU, Sequential
from xpnet.layers.containers import map_leaves
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS, Adam, Momentum
from xpnet.random import Stream, generator
from xpnet.runs.settings import name_of
from xpnet.serialization import from_config, to_config
from xpnet.shapes import Shape

SEED = 0
MOMENTUM = 0.9
TOLERANCE = 1e-3
_TOLERANCE_WHERE_IT_CANCELS = 0.1
_COMPARED_IMAGES = 8


@dataclass(frozen=True, eq=False)
class Case:
    """One network, its batch and its optimizer (momentum as a heavy ball, or adam): the same for all implementations.

    ``precision`` is that of float32's products on a GPU: float32 or tf32.

    The learning rate is so small that the weights stay where the gradients were compared: trained on one batch for
    hundreds of steps they would end in gradients too small for normal numbers, which take a CPU many times as long.
    """

    model: str
    layer: Layer
    input_shape: Shape
    batch_size: int
    pixel_scale: float = 1 / 255
    optimizer: str = "momentum"
    weight_decay: float = 0.0
    learning_rate: float = 1e-6
    dtype: str = "float32"
    precision: str = "float32"

    def network(self, device: str = "cpu", backend: str | None = None) -> Network:
        """The network with its initial weights, which depend on nothing but the layers."""
        settings = {"dtype": self.dtype, "device": device, "backend": backend}
        network = Network(self.layer, self.input_shape, seed=SEED, **settings)
        network.set_normalization(self.batch()[0].mean(axis=(0, 1, 2), dtype=np.float64), self.pixel_scale)
        return network

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, H, W, C) and labels int32 (N,), both at random."""
        rng = generator(SEED, Stream.EPOCH)
        images = rng.integers(0, 256, (self.batch_size, *self.input_shape), dtype=np.uint8)
        (classes,) = self.layer.output_shape(self.input_shape)
        return images, rng.integers(0, classes, self.batch_size, dtype=np.int32)

    def make_optimizer(self) -> Momentum | Adam:
        """The optimizer; both of these are written alike in every library."""
        if self.optimizer == "adam":
            return Adam(self.learning_rate, self.weight_decay)
        return Momentum(self.learning_rate, MOMENTUM, self.weight_decay, form="heavy-ball")

    def comparable(self, dtype: str = "float64") -> Case:
        """The same as far as gradients are compared: on few images, without dropout, whose masks differ."""
        layer = map_leaves(lambda _, leaf: Dropout(0.0) if isinstance(leaf, Dropout) else leaf, self.layer)
        batch_size = min(self.batch_size, _COMPARED_IMAGES)
        return dataclasses.replace(self, layer=layer, dtype=dtype, batch_size=batch_size)

    def tolerances(self) -> dict[str, float]:
        """The dtypes that gradients are compared in, and by how much of a tensor they may differ.

        What serves float32, a GPU's kernels or oneDNN, may serve no other dtype. In float32 equal
        gradients of a network with batch normalisation differ by up to 3 % on images of noise: nearly all cancels.
        """
        normalizes = any(isinstance(leaf.layer, BatchNorm) for leaf in self.layer.leaves(self.input_shape))
        return {"float64": TOLERANCE, "float32": _TOLERANCE_WHERE_IT_CANCELS if normalizes else TOLERANCE}

    def to_json(self) -> dict[str, Any]:
        """All fields as values that JSON can write."""
        return {field.name: to_config(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Case:
        """Inverse of ``to_json``."""
        return cls(**{name: from_config(value) for name, value in fields.items()})


@dataclass(frozen=True)
class Plan:
    """A model's batch sizes, and what makes it another than the registered one: settings, or layers of its own."""

    batch_sizes: tuple[int, ...]
    registered: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layer: Layer | None = None


def _depthwise() -> Sequential:
    """Three of MobileNet's blocks, a depthwise and a pointwise convolution each, on 32 to 64 channels of small images.

    Source: Howard et al., arXiv:1704.04861, table 1.
    """
    layers: list[Layer] = [Normalize(), Conv2D(32, 3, padding=1, bias=False), BatchNorm(), ReLU()]
    for channels in (32, 64, 64):
        layers += [Conv2D(channels, 3, padding=1, groups=channels, bias=False), BatchNorm(), ReLU()]
        layers += [Conv2D(64, 1, bias=False), BatchNorm(), ReLU()]
    return Sequential([*layers, GlobalAvgPool2D(), Dense(10)])


PLANS: Mapping[str, Plan] = {
    "mnist_starter": Plan((16, 128, 512), "mnist_starter"),
    "lenet5": Plan((128,), "lenet5"),
    "cifar10_starter": Plan((16, 128), "cifar10_starter"),
    "cnn_32_64": Plan((128,), "cnn_32_64"),
    "fer_cnn": Plan((64,), "fer_cnn"),
    "resnet18-small": Plan((32,), "resnet18", {"input_shape": (32, 32, 3), "classes": 10, "stem": "small"}),
    "depthwise": Plan((32,), "cifar10_starter", layer=_depthwise()),
    "mlp": Plan((128,), "mlp"),
    "resnet50": Plan((64,), "resnet50"),
}
CPU_MODELS = ("mnist_starter", "lenet5", "cifar10_starter", "cnn_32_64", "fer_cnn", "resnet18-small", "depthwise")
GPU_MODELS = (*CPU_MODELS, "resnet50")


def find_cases(model: str, batch_sizes: tuple[int, ...] | None = None, precision: str = Case.precision) -> list[Case]:
    """A model's cases, at its own batch sizes unless told otherwise.

    Raises InputError for a model that is not measured, or a batch size below 1.
    """
    plan = pick("Benchmark, model", PLANS, model)
    recipe, network = models.recipe(plan.registered).train, models.create(plan.registered, **plan.settings)
    return [
        Case(
            model,
            plan.layer or network.layer,
            network.input_shape,
            batch_size,
            float(recipe.normalize),
            name_of(OPTIMIZERS, recipe.optimizer),
            recipe.optimizer.weight_decay,
            precision=precision,
        )
        for batch_size in batch_sizes or plan.batch_sizes
    ]
