"""Operators that are layers without parameters, or only rearrange values: a table from each to its function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node, resolve_shape
from xpnet.onnx.parts import Parts, Signal

Builder = Callable[[Node, Parts, Signal], Signal]


def plain(node: Node, x: Signal) -> Signal:
    """The value, which no node has made a view of."""
    if x.view:
        raise node.error(f"expected a layer's value, got one that was reshaped ({x.view[0]})", "Only some are known.")
    return x


def _activation(make: Callable[[Node], Layer]) -> Builder:
    """A layer that leaves the shape as it is."""

    def build(node: Node, parts: Parts, x: Signal) -> Signal:
        try:
            layer = make(plain(node, x) and node)
        except ValueError as error:
            raise node.error(str(error).rstrip("."), "Only such a layer is known.") from error
        parts.add(node, layer)
        return x

    return build


def _hard_sigmoid(node: Node) -> Layer:
    if not (math.isclose(node.get("alpha", 0.2), 1 / 6, rel_tol=1e-5) and node.get("beta", 0.5) == 0.5):
        raise ValueError(f"expected alpha 1/6 and beta 1/2, got {node.get('alpha', 0.2)} and {node.get('beta', 0.5)}")
    return layers.HardSigmoid()


def _selu(node: Node) -> Layer:
    given = (node.get("alpha", layers.SELU.alpha), node.get("gamma", layers.SELU.scale))
    if not np.allclose(given, (layers.SELU.alpha, layers.SELU.scale), rtol=1e-6):
        raise ValueError(f"expected alpha and gamma of the paper, got {given}")
    return layers.SELU()


def _silu(node: Node) -> Layer:
    if node.get("alpha", 1.0) != 1:
        raise ValueError(f"expected alpha 1, got {node.get('alpha')}")
    return layers.SiLU()


def _relu6(node: Node, parts: Parts, x: Signal) -> Signal:
    """A Clip to values from 0 to 6."""
    ends = [node.get("min"), node.get("max")] if node.opset < 11 else [node.optional(at, "a limit") for at in (1, 2)]
    if [None if end is None else float(end) for end in ends] != [0.0, 6.0]:
        raise node.error("expected limits of 0 and 6", "Only ReLU6 is known.")
    return _activation(lambda node: layers.ReLU6())(node, parts, x)


def _prelu(node: Node, parts: Parts, x: Signal) -> Signal:
    slope = plain(node, x).per_channel(node, node.constant(1, "slopes"))
    parts.add(node, layers.PReLU(), {"weight": slope})
    return x


def _dropout(node: Node, parts: Parts, x: Signal) -> Signal:
    ratio = node.get("ratio", 0.5) if node.opset < 12 else node.optional(1, "a ratio")
    p = 0.5 if ratio is None else float(np.asarray(ratio).reshape(-1)[0])
    if p:
        return _activation(lambda node: layers.Dropout(p))(node, parts, x)
    return x


def _affine(of: Callable[[np.ndarray, bool], tuple[Any, Any]]) -> Builder:
    """A builder of y = scale x + shift; ``of`` gives both from the constant, and from whether that comes first."""

    def build(node: Node, parts: Parts, x: Signal) -> Signal:
        constants = [at for at, name in enumerate(node.inputs) if name in node.constants]
        for at in constants:
            c = node.constants[node.inputs[at]]
            if node.operator == "Add" and len(x.shape) == 2 and not x.first and c.shape in (x.shape, (1, *x.shape)):
                parts.add(node, layers.LearnedPositions(), {"weight": c.reshape(x.shape)})
                continue
            vector = plain(node, x).per_channel(node, c)
            scale, shift = of(vector.astype(np.float64), at == 0)
            ones = np.ones_like(vector, np.float64)
            parts.affine(node, (ones * scale).astype(vector.dtype), (ones * shift).astype(vector.dtype))
        return x

    return build


def _quotient(c: np.ndarray, is_first: bool) -> tuple[Any, Any]:
    if is_first or not np.all(c != 0):
        raise ValueError("expected a value divided by a constant other than 0")
    return 1 / c, 0.0


def _transpose(node: Node, parts: Parts, x: Signal) -> Signal:
    rank = 3 if x.view[:1] == ("grouped",) else len(x.lengths) + 1
    order = list(node.get("perm") or range(rank)[::-1])
    if x.view[:1] == ("split",) and order in ([0, 2, 1, 3, 4], [0, 2, 1, 3]):
        return x._replace(view=("shuffled", x.view[1]))
    if x.view == ("grouped", x.shape[-1]) and order == [0, 2, 1]:
        return Signal(parts.add(node, layers.ImageToSequence()))
    to_first, to_last = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    if not x.view and rank > 2 and order == to_first and not x.first:
        return x._replace(first=True)
    if not x.view and rank > 2 and order == to_last and x.first:
        return x._replace(first=False)
    if order == list(range(rank)):
        return x
    raise node.error(f"expected the channels to move to the front or back, got axes {order}", "Only that is known.")


def _reshape(node: Node, parts: Parts, x: Signal) -> Signal:
    target = (node.get("shape") if node.opset < 5 else node.constant(1, "a shape").tolist()) or []
    count = math.prod(x.shape)
    kept = [x.lengths[at - 1] if n == 0 and 0 < at <= len(x.lengths) else n for at, n in enumerate(target)]
    return _reshaped(node, parts, x, resolve_shape(kept, count, node))


def _reshaped(node: Node, parts: Parts, x: Signal, wanted: list[int]) -> Signal:
    """What the layers so far and the views make of a new shape, without the batch."""
    lengths, channels = x.lengths, x.shape[-1]
    if x.view:
        is_back = wanted == lengths
        if is_back and x.view[0] == "shuffled":
            parts.add(node, layers.ChannelShuffle(x.view[1]))
            return x._replace(view=())
        if is_back and x.view[0] in ("grouped", "image", "wide"):
            return x._replace(view=())
        raise node.error(f"expected the shape {lengths} again, got {wanted}", "Only that is known.")
    if wanted == lengths:
        return x
    if len(wanted) == 1:
        return _flattened(parts, x)
    if x.flat_of and wanted == [x.flat_of[-1], *x.flat_of[:-1]] and parts.ends_with(layers.Flatten):
        images = x.flat_of
        parts.pop(images)
        return Signal(images, first=True)
    if len(lengths) == 1 and wanted[0] == lengths[0] and not x.flat_of:
        return x._replace(view=("wide", "channels first"))
    if x.first and wanted == [*lengths, 1]:
        return x._replace(view=("image",))
    if not x.first and len(lengths) == 3 and wanted[1:] == [channels]:
        return Signal(parts.add(node, layers.ImageToSequence()))
    if x.first and len(wanted) == 2 and channels % wanted[0] == 0:
        return x._replace(view=("grouped", wanted[0]))
    if x.first and wanted[2:] == lengths[1:] and wanted[0] * wanted[1] == channels:
        return x._replace(view=("split", wanted[0]))
    raise node.error(f"expected to flatten or to regroup channels, got {lengths} as {wanted}", "Only that is known.")


def _flattened(parts: Parts, x: Signal) -> Signal:
    """One vector of each example."""
    if len(x.shape) == 1:
        return x
    flat_of = x.shape if x.first and math.prod(x.shape[:-1]) > 1 else None
    parts.flatten()
    return Signal(parts.shape, flat_of=flat_of)


def _flatten(node: Node, parts: Parts, x: Signal) -> Signal:
    if node.get("axis", 1) % (len(x.lengths) + 1) != 1:
        raise node.error(f"expected axis 1, got {node.get('axis', 1)}", "Only that is known.")
    return _flattened(parts, plain(node, x))


def _squeeze(node: Node, parts: Parts, x: Signal) -> Signal:
    """Of images of one pixel, height and width."""
    rank = len(plain(node, x).shape) + 1
    given = node.get("axes") if node.opset < 13 else node.optional(1, "axes")
    axes = sorted(int(axis) % rank for axis in (given if given is not None else []))
    places = [axis for axis in range(1, rank) if axis != x.channel_axis]
    if (given is not None and axes != places) or any(n != 1 for n in x.shape[:-1]) or rank < 3:
        raise node.error(
            f"expected to leave out height and width of 1, got axes {axes} of {x.lengths}", "Only that is known."
        )
    return _flattened(parts, x)


def _unsqueeze(node: Node, parts: Parts, x: Signal) -> Signal:
    """Of vectors that are factors for the channels of images or sequences."""
    given = node.get("axes") if node.opset < 13 else node.constant(1, "axes")
    axes = sorted(int(axis) for axis in given)
    if len(plain(node, x).shape) != 1 or x.flat_of or axes not in ([2, 3], [-2, -1], [1, 2], [1], [2]):
        raise node.error(f"expected factors for channels, got axes {axes} of {x.lengths}", "Only these are known.")
    return x._replace(view=("wide",))


def _index(node: Node, parts: Parts, x: Signal) -> Signal:
    """A Cast or Round in front of an embedding's Gather; a Cast between real numbers changes nothing."""
    if node.operator == "Cast" and node.get("to") in (1, 10, 11):
        return x
    if parts.parts:
        raise node.error("expected a Cast or Round of the graph's input", "Only that is known.")
    return x._replace(view=("index",))


def _gather(node: Node, parts: Parts, x: Signal) -> Signal:
    """``FirstPlace`` of a sequence, or the rows of a constant: an ``Embedding``."""
    if node.inputs[0] in node.constants:
        return _embedding(node, parts, x)
    index, places = node.constant(1, "an index"), 2 if x.first else 1
    if len(plain(node, x).shape) != 2 or node.get("axis", 0) != places or index.ndim or index != 0:
        raise node.error("expected the first place of sequences", "Only that is known.")
    return Signal(parts.add(node, layers.FirstPlace()))


def _embedding(node: Node, parts: Parts, x: Signal) -> Signal:
    weight = node.constant(0, "a table of vectors")
    if node.get("axis", 0) != 0 or weight.ndim != 2 or x.view not in ((), ("index",)) or parts.parts:
        raise node.error("expected the rows of a matrix by the graph's input", "Only that is known.")
    return Signal(parts.add(node, layers.Embedding(*weight.shape), {"weight": weight}))


def _identity(node: Node, parts: Parts, x: Signal) -> Signal:
    return x


BUILDERS: Mapping[str, Builder] = {
    "Add": _affine(lambda c, is_first: (1.0, c)),
    "Cast": _index,
    "Clip": _relu6,
    "Div": _affine(_quotient),
    "Dropout": _dropout,
    "Elu": _activation(lambda node: layers.ELU(node.get("alpha", 1.0))),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _activation(lambda node: layers.GELU(node.get("approximate", "none"))),
    "HardSigmoid": _activation(_hard_sigmoid),
    "HardSwish": _activation(lambda node: layers.HardSwish()),
    "Identity": _identity,
    "LeakyRelu": _activation(lambda node: layers.LeakyReLU(node.get("alpha", 0.01))),
    "Mul": _affine(lambda c, is_first: (c, 0.0)),
    "PRelu": _prelu,
    "Relu": _activation(lambda node: layers.ReLU()),
    "Reshape": _reshape,
    "Round": _index,
    "Selu": _activation(_selu),
    "Sigmoid": _activation(lambda node: layers.Sigmoid()),
    "Softplus": _activation(lambda node: layers.Softplus()),
    "Squeeze": _squeeze,
    "Sub": _affine(lambda c, is_first: (-1.0, c) if is_first else (1.0, -c)),
    "Sum": _affine(lambda c, is_first: (1.0, c)),
    "Swish": _activation(_silu),
    "Tanh": _activation(lambda node: layers.Tanh()),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
