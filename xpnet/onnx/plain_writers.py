"""What each layer without parameters, and each of sequences, is in ONNX; see ``writers``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.onnx.graph import Graph, Tensors, Value


def _elementwise(operator: str, **settings: str | float) -> Any:
    """A writer of one node whose attributes are the layer's settings of these names, or these numbers."""

    def write(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
        attributes = {n: getattr(layer, value) if isinstance(value, str) else value for n, value in settings.items()}
        return x.named(graph.node(operator, [x.name], name=path, **attributes))

    return write


def _prelu(graph: Graph, path: str, layer: layers.PReLU, tensors: Tensors, x: Value) -> Value:
    slope = graph.tensor(f"{path}.weight", x.per_channel(tensors.params["weight"]))
    return x.named(graph.node("PRelu", [x.name, slope], name=path))


def _relu6(graph: Graph, path: str, layer: layers.ReLU6, tensors: Tensors, x: Value) -> Value:
    ends = [graph.tensor(f"{path}.{name}", np.asarray(n)) for name, n in (("low", 0.0), ("high", 6.0))]
    return x.named(graph.node("Clip", [x.name, *ends], name=path))


def _silu(graph: Graph, path: str, layer: layers.SiLU, tensors: Tensors, x: Value) -> Value:
    gate = graph.node("Sigmoid", [x.name], name=f"{path}.gate")
    return x.named(graph.node("Mul", [x.name, gate], name=path))


def _softmax(graph: Graph, path: str, layer: layers.Softmax, tensors: Tensors, x: Value) -> Value:
    return x.named(graph.node("Softmax", [x.name], name=path, axis=x.channel_axis))


def _dropout(graph: Graph, path: str, layer: layers.Dropout, tensors: Tensors, x: Value) -> Value:
    """A node that hands its input on, for those who train the file further."""
    return x.named(graph.node("Dropout", [x.name, graph.tensor(f"{path}.p", np.asarray(layer.p))], name=path))


def _nothing(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    return x


def _flatten(graph: Graph, path: str, layer: layers.Flatten, tensors: Tensors, x: Value) -> Value:
    flat_of = x.shape if x.first and math.prod(x.shape[:-1]) > 1 else None
    return Value(graph.node("Flatten", [x.name], name=path), (math.prod(x.shape),), flat_of=flat_of)


def _zero_pad(graph: Graph, path: str, layer: layers.ZeroPad2D, tensors: Tensors, x: Value) -> Value:
    (top, bottom), (left, right) = layer.padding
    pads = graph.integers([0, 0, top, left, 0, 0, bottom, right])
    return x.named(graph.node("Pad", [graph.first(x).name, pads], name=path))._replace(first=True)


def _image_to_sequence(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    """Regrouped as the image lies, with the channels in front or behind."""
    channels = x.shape[-1]
    shape = graph.integers([0, channels, -1] if x.first else [0, -1, channels])
    return x.named(graph.node("Reshape", [x.name, shape], name=path))


def _pad_channels(graph: Graph, path: str, layer: layers.PadChannels, tensors: Tensors, x: Value) -> Value:
    x = graph.plain_vector(x)
    ends = [[0] * (len(x.shape) + 1) for _ in range(2)]
    ends[0][x.channel_axis], ends[1][x.channel_axis] = layer.before, layer.after
    return x.named(graph.node("Pad", [x.name, graph.integers([*ends[0], *ends[1]])], name=path))


def _shuffle(graph: Graph, path: str, layer: layers.ChannelShuffle, tensors: Tensors, x: Value) -> Value:
    x, (*places, channels) = graph.first(graph.plain_vector(x)), x.shape
    shape = graph.integers([0, layer.groups, channels // layer.groups, *places])
    y = graph.node("Reshape", [x.name, shape], name=f"{path}.groups")
    order = [0, 2, 1, *range(3, 3 + len(places))]
    y = graph.node("Transpose", [y], name=f"{path}.dealt", perm=order)
    return x.named(graph.node("Reshape", [y, graph.integers([0, channels, *places])], name=path))


def _embedding(graph: Graph, path: str, layer: layers.Embedding, tensors: Tensors, x: Value) -> Value:
    x = graph.plain(x)
    index = graph.node("Round", [x.name], name=f"{path}.rounded")
    index = graph.node("Cast", [index], name=f"{path}.index", to=graph.onnx.TensorProto.INT64)
    weight = graph.tensor(f"{path}.weight", tensors.params["weight"])
    return x.named(graph.node("Gather", [weight, index], name=path, axis=0))


def _class_token(graph: Graph, path: str, layer: layers.ClassToken, tensors: Tensors, x: Value) -> Value:
    """The token behind as many zeros as there are examples: those of a part of x that has no place."""
    x, one = graph.last(x), graph.integers([1])
    ends = [graph.integers([n]) for n in (0, 1)]
    first = graph.node("Slice", [x.name, *ends, one], name=f"{path}.place")
    nothing = graph.node("Mul", [first, graph.tensor(f"{path}.zero", np.asarray(0.0))], name=f"{path}.nothing")
    token = graph.node("Add", [nothing, graph.tensor(f"{path}.weight", tensors.params["weight"])], name=f"{path}.token")
    return x.named(graph.node("Concat", [token, x.name], name=path, axis=1))


def _first_place(graph: Graph, path: str, layer: layers.FirstPlace, tensors: Tensors, x: Value) -> Value:
    place = graph.onnx.numpy_helper.from_array(np.asarray(0), f"{path}.index")
    graph.initializers.append(place)
    return Value(graph.node("Gather", [x.name, place.name], name=path, axis=2 if x.first else 1), x.shape[-1:])


def _learned_positions(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    weight = tensors.params["weight"][: x.shape[0]]
    x = graph.last(x)
    return x.named(graph.node("Add", [x.name, graph.tensor(f"{path}.weight", weight)], name=path))


def _sinusoidal_positions(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    x, nothing = graph.last(x), np.zeros((1, *x.shape), graph.dtype)
    waves = layer.unchecked_forward({}, {}, nothing).y[0]
    return x.named(graph.node("Add", [x.name, graph.tensor(f"{path}.waves", waves)], name=path))


def _attention(graph: Graph, path: str, layer: layers.SelfAttention, tensors: Tensors, x: Value) -> Value:
    x, (length, channels) = graph.last(x), x.shape
    width = channels // (3 * layer.heads)
    y = graph.node("Reshape", [x.name, graph.integers([0, length, 3 * layer.heads, width])], name=f"{path}.heads")
    y = graph.node("Transpose", [y], name=f"{path}.by_head", perm=[0, 2, 1, 3])
    parts = [
        graph.node(
            "Slice",
            [y, *(graph.integers([n]) for n in (at * layer.heads, (at + 1) * layer.heads, 1))],
            name=f"{path}.{name}",
        )
        for at, name in enumerate(("q", "k", "v"))
    ]
    k = graph.node("Transpose", [parts[1]], name=f"{path}.k_transposed", perm=[0, 1, 3, 2])
    scores = graph.node("MatMul", [parts[0], k], name=f"{path}.products")
    scale = graph.tensor(f"{path}.scale", np.asarray(1 / math.sqrt(width)))
    scores = graph.node("Mul", [scores, scale], name=f"{path}.scores")
    if layer.causal or layer.mask is not None:
        attends = np.tri(length) if layer.causal else np.asarray([list(map(int, row)) for row in layer.mask])
        mask = graph.tensor(f"{path}.mask", np.where(attends != 0, 0.0, -np.inf))
        scores = graph.node("Add", [scores, mask], name=f"{path}.masked")
    p = graph.node("Softmax", [scores], name=f"{path}.p", axis=-1)
    y = graph.node("MatMul", [p, parts[2]], name=f"{path}.by_head_out")
    y = graph.node("Transpose", [y], name=f"{path}.joined", perm=[0, 2, 1, 3])
    return x.named(graph.node("Reshape", [y, graph.integers([0, length, channels // 3])], name=path))


ELEMENTWISE = {
    layers.ReLU: _elementwise("Relu"),
    layers.ReLU6: _relu6,
    layers.LeakyReLU: _elementwise("LeakyRelu", alpha="slope"),
    layers.PReLU: _prelu,
    layers.ELU: _elementwise("Elu", alpha="alpha"),
    layers.SELU: _elementwise("Selu", alpha="alpha", gamma="scale"),
    layers.Sigmoid: _elementwise("Sigmoid"),
    layers.HardSigmoid: _elementwise("HardSigmoid", alpha=1 / 6, beta=0.5),
    layers.Tanh: _elementwise("Tanh"),
    layers.Softplus: _elementwise("Softplus"),
    layers.SiLU: _silu,
    layers.HardSwish: _elementwise("HardSwish"),
    layers.GELU: _elementwise("Gelu", approximate="approximate"),
    layers.Softmax: _softmax,
}
REARRANGING = {
    layers.Dropout: _dropout,
    layers.SpatialDropout: _nothing,
    layers.StochasticDepth: _nothing,
    layers.Identity: _nothing,
    layers.Flatten: _flatten,
    layers.ZeroPad2D: _zero_pad,
    layers.ChannelShuffle: _shuffle,
    layers.ImageToSequence: _image_to_sequence,
    layers.PadChannels: _pad_channels,
}
SEQUENCES = {
    layers.Embedding: _embedding,
    layers.ClassToken: _class_token,
    layers.FirstPlace: _first_place,
    layers.LearnedPositions: _learned_positions,
    layers.SinusoidalPositions: _sinusoidal_positions,
    layers.SelfAttention: _attention,
}
