"""What a network consists of, as rows and as text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from xpnet.shapes import Shape

if TYPE_CHECKING:
    from xpnet.function import LayeredFunction


class LayerInfo(NamedTuple):
    """One line of a network's summary."""

    name: str
    kind: str
    output_shape: Shape
    parameters: int


def layer_info(network: LayeredFunction) -> list[LayerInfo]:
    """Every layer that holds no others, with its output shape and number of parameters."""
    counts: Counter[str] = Counter()
    for name, slot in network.layout.slots().items():
        counts[name.rpartition(".")[0]] += slot.stop - slot.start
    return [
        LayerInfo(name, type(layer).__name__, layer.output_shape(shape), counts[name])
        for name, layer, shape in network.layer.leaves(network.input_shape)
    ]


def summary(network: LayeredFunction) -> str:
    """The layers as a plain text table."""
    cells = [("layer", "kind", "output shape", "parameters")]
    cells += [(i.name, i.kind, shape_text(i.output_shape), f"{i.parameters:,}") for i in layer_info(network)]
    cells += [("total", "", "", f"{network.parameter_count:,}")]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells)


def short(network: LayeredFunction) -> str:
    """What a network is on its first line, and one line for each layer."""
    head = (
        f"{type(network).__name__}: {shape_text(network.input_shape)} -> {shape_text(network.output_shape)}, "
        f"{network.parameter_count:,} parameters, {network.dtype}, {network.backend.name} on "
        f"{network.backend.device_name()}"
    )
    info = layer_info(network)
    name, kind = (max(len(getattr(i, field)) for i in info) for field in ("name", "kind"))
    lines = [f"  {i.name:<{name}}  {i.kind:<{kind}}  {shape_text(i.output_shape)}" for i in info]
    return "\n".join([head, *lines])


def shape_text(shape: tuple[Any, ...]) -> str:
    """A shape as people write it: 28 x 28 x 16."""
    return " x ".join(map(str, shape))
