"""What a run found when it began, which its settings alone do not say: layers, data, length, versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.network import Network
from xpnet.report.values import as_count, as_text, as_texts
from xpnet.runs.folder import versions
from xpnet.shapes import Shape
from xpnet.training import Trainer

_MOST_LAYERS = 2000
_MOST_AXES = 8


class LayerWork(NamedTuple):
    """What a layer holds, and what it has to do for one example.

    ``multiplications`` are those of convolutions and dense layers in a forward pass, ``outputs`` the values it hands
    on.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    multiplications: int

    @property
    def outputs(self) -> int:
        """How many values the layer hands on."""
        return math.prod(self.output_shape)


class Start(NamedTuple):
    """What a run found when it began; ``bytes_per_value`` is that of parameters and activations."""

    layers: list[LayerWork]
    input_shape: Shape
    bytes_per_value: int
    training_examples: int
    iterations: int
    batches_per_epoch: int
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` reads."""
        return {**self._asdict(), "layers": [layer._asdict() for layer in self.layers]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Start:
        """Inverse of ``to_json``. Raises LookupError, TypeError or ValueError for anything else."""
        if len(values["layers"]) > _MOST_LAYERS:
            raise ValueError(f"more than {_MOST_LAYERS} layers")
        return cls(
            layers=[
                LayerWork(
                    as_text(layer["name"]),
                    as_text(layer["kind"]),
                    _as_shape(layer["output_shape"]),
                    as_count(layer["parameters"]),
                    as_count(layer["multiplications"]),
                )
                for layer in values["layers"]
            ],
            input_shape=_as_shape(values["input_shape"]),
            versions=as_texts(values["versions"]),
            **{name: as_count(values[name]) for name in _COUNTS},
        )


_COUNTS = ("bytes_per_value", "training_examples", "iterations", "batches_per_epoch")


def layers_of(network: Network) -> list[LayerWork]:
    """The layers of a network that hold no others."""
    leaves = network.layer.leaves(network.input_shape)
    return [
        LayerWork(*info, layer.multiplications(shape))
        for info, (_, layer, shape) in zip(network.layer_info(), leaves, strict=True)
    ]


def start_of(trainer: Trainer) -> Start:
    """What a trainer begins with."""
    network = trainer.network
    return Start(
        layers=layers_of(network),
        input_shape=network.input_shape,
        bytes_per_value=np.dtype(network.dtype).itemsize,
        training_examples=trainer.data.count,
        iterations=trainer.iterations,
        batches_per_epoch=trainer.data.batches_per_epoch,
        versions=versions(network.backend),
    )


def _as_shape(value: Any) -> Shape:
    if not isinstance(value, list | tuple) or len(value) > _MOST_AXES:
        raise ValueError("a shape is not a list of a few sizes")
    return tuple(map(as_count, value))
