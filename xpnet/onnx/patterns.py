"""Layers that are several nodes in a file: patterns of nodes, each with the function that makes its layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.elements import plain
from xpnet.onnx.learning import Builder, channels_last
from xpnet.onnx.nodes import Node, Nodes, needed
from xpnet.onnx.parts import Parts, Signal
from xpnet.onnx.pooling import channels_first
from xpnet.onnx.writers import shares_of

_EITHER_ORDER = ("Add", "Mul")


class Pattern(NamedTuple):
    """A node of this operator and these attributes.

    Its inputs are nodes again, or names: what has one name is one value.
    """

    operator: str
    inputs: tuple[Pattern | str, ...]
    attributes: Mapping[str, Any]


def _op(operator: str, *inputs: Pattern | str, **attributes: Any) -> Pattern:
    return Pattern(operator, inputs, attributes)


class _Found:
    """The values that a pattern's names stand for. What is not such a constant raises LookupError or ValueError."""

    def __init__(self, names: Mapping[str, str], constants: Mapping[str, np.ndarray]) -> None:
        self.names, self.constants = names, constants

    def array(self, name: str) -> np.ndarray:
        return self.constants[self.names[name]]

    def number(self, name: str) -> float:
        return self.array(name).item()

    def integers(self, name: str) -> list[int]:
        return [int(n) for n in self.array(name).reshape(-1)]


def recognised(nodes: Nodes) -> Nodes:
    """The graph with one node for each pattern in it, and with joins of all earlier joins' inputs as joins of two."""
    by_output = dict(nodes.by_output)
    for name, node in nodes.by_output.items():
        for pattern, make in PATTERNS:
            names = _match(nodes.by_output, name, pattern, {})
            build = names and _made(make, _Found(names, node.constants))
            if names and build and (names["x"] == nodes.input or names["x"] in nodes.by_output):
                by_output[name] = replace(node, inputs=(names["x"],), build=build)
                break
    return replace(nodes, by_output=needed(_nested_joins(by_output), nodes.output))


def _match(
    nodes: Mapping[str, Node], value: str, pattern: Pattern | str, names: dict[str, str]
) -> dict[str, str] | None:
    """The pattern's names with their values, if this value is computed that way."""
    if isinstance(pattern, str):
        return {**names, pattern: value} if names.get(pattern, value) == value else None
    node = nodes.get(value)
    if node is None or node.operator != pattern.operator or len(node.inputs) != len(pattern.inputs):
        return None
    if any(node.get(name) != given for name, given in pattern.attributes.items()):
        return None
    orders = itertools.permutations(node.inputs) if node.operator in _EITHER_ORDER else [node.inputs]
    for inputs in orders:
        found: dict[str, str] | None = names
        for inner, expected in zip(inputs, pattern.inputs, strict=True):
            found = None if found is None else _match(nodes, inner, expected, found)
        if found is not None:
            return found
    return None


def _made(make: Callable[[_Found], Builder | None], found: _Found) -> Builder | None:
    try:
        return make(found)
    except (ArithmeticError, LookupError, ValueError):
        return None


def _nested_joins(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """A Concat that begins with all inputs of an earlier one takes that one's output: PyTorch's DenseNet is so."""
    joined, prefixes, outputs = dict(nodes), {}, {}
    for name, node in nodes.items():
        if node.operator != "Concat":
            continue
        prefix, begins = (node.get("axis"), ""), None
        for at, value in enumerate(node.inputs, start=1):
            prefix = prefixes.setdefault((prefix, value), len(prefixes))
            if prefix in outputs and at < len(node.inputs):
                begins = outputs[prefix], at
        outputs.setdefault(prefix, name)
        if begins:
            joined[name] = replace(node, inputs=(begins[0], *node.inputs[begins[1] :]))
        elif len(node.inputs) == 1:
            joined[name] = replace(node, operator="Identity")
    return joined


def _layer(
    layer: Layer,
    params: Mapping[str, np.ndarray] | None = None,
    *,
    lies: Callable[[Node, Signal], Signal] = channels_last,
    takes: Sequence[int | None] | None = None,
) -> Builder:
    """A builder of one layer with constants over the channels, for inputs of a shape, in which None is any length."""

    def build(node: Node, parts: Parts, x: Signal) -> Signal:
        x = lies(node, x)
        wanted = takes and tuple(a or b for a, b in itertools.zip_longest(takes, x.shape))
        if wanted and wanted != x.shape:
            raise node.error(f"expected an input of shape {wanted}, got {x.shape}", "Check the model.")
        tensors = {name: x.per_channel(node, array) for name, array in (params or {}).items()}
        return x._replace(shape=parts.add(node, layer, tensors))

    return build


# Each class of layer, as the export writes it, and as PyTorch's exporter does where that has another form.


def _gelu(found: _Found) -> Builder | None:
    """GELU as x (1 + erf(x / sqrt 2)) / 2, for which ONNX has no operator before opset 20."""
    given = [found.number(name) for name in ("root", "one", "half")]
    return _layer(layers.GELU(), lies=plain) if np.allclose(given, [math.sqrt(2), 1, 0.5]) else None


_GELU = _op("Mul", _op("Mul", "x", _op("Add", _op("Erf", _op("Div", "x", "root")), "one")), "half")


def _rms_norm(found: _Found) -> Builder | None:
    if found.integers("axes") != [-1]:
        return None
    return _layer(layers.RMSNorm(found.number("eps")), {"weight": found.array("weight")})


_MEAN_SQUARE = _op("ReduceMean", _op("Mul", "x", "x"), "axes", keepdims=1)
_RMS_NORM = _op("Mul", _op("Div", "x", _op("Sqrt", _op("Add", _MEAN_SQUARE, "eps"))), "weight")


def _class_token(found: _Found) -> Builder | None:
    place = [found.integers(name) for name in ("start", "end", "axes")]
    if place != [[0], [1], [1]] or found.number("zero") != 0:
        return None
    return _layer(layers.ClassToken(), {"weight": found.array("weight")})


_FIRST = _op("Slice", "x", "start", "end", "axes")
_CLASS_TOKEN = _op("Concat", _op("Add", _op("Mul", _FIRST, "zero"), "weight"), "x", axis=1)


def _adaptive_avg_pool(found: _Found) -> Builder | None:
    """Products with matrices that hold each pixel's share in each part."""
    rows, columns = found.array("rows"), found.array("columns").T
    (height, width), size = (rows.shape[1], columns.shape[1]), (rows.shape[0], columns.shape[0])
    if rows.ndim != 2 or not all(np.allclose(a, shares_of(a.shape[1], a.shape[0])) for a in (rows, columns)):
        return None
    return _layer(layers.AdaptiveAvgPool2D(size), lies=channels_first, takes=(height, width, None))


_ADAPTIVE_AVG_POOL = _op("MatMul", _op("MatMul", "rows", "x"), "columns")


def _attention(found: _Found, *, masked: bool) -> Builder | None:
    (_, length, thrice, width), out = found.integers("heads"), found.integers("joined")
    heads = thrice // 3
    places = [found.integers(f"{end}{at}") for at in range(3) for end in ("start", "end")]
    is_third_each = places == [[0], [heads], [heads], [2 * heads], [2 * heads], [3 * heads]]
    is_scaled = math.isclose(found.number("scale"), 1 / math.sqrt(width), rel_tol=1e-5)
    if not (is_third_each and is_scaled and thrice % 3 == 0 and found.integers("axes") == [1]):
        return None
    if out[1:] != [length, heads * width]:
        return None
    settings = _mask_settings(found.array("mask"), length) if masked else {}
    return _layer(layers.SelfAttention(heads, **settings), takes=(length, thrice * width))


def _mask_settings(mask: np.ndarray, length: int) -> dict[str, Any]:
    """What is added to the scores, 0 or -inf, as a setting of ``SelfAttention``."""
    attends = mask == 0
    if mask.shape != (length, length) or not np.all(attends | (mask == -np.inf)):
        raise ValueError("not a mask")
    return {"causal": True} if np.array_equal(attends, np.tri(length)) else {"mask": attends}


def _attention_pattern(*, masked: bool) -> Pattern:
    by_head = _op("Transpose", _op("Reshape", "x", "heads"), perm=[0, 2, 1, 3])
    q, k, v = (_op("Slice", by_head, f"start{at}", f"end{at}", "axes") for at in range(3))
    scores = _op("Mul", _op("MatMul", q, _op("Transpose", k, perm=[0, 1, 3, 2])), "scale")
    p = _op("Softmax", _op("Add", scores, "mask") if masked else scores, axis=-1)
    return _op("Reshape", _op("Transpose", _op("MatMul", p, v), perm=[0, 2, 1, 3]), "joined")


PATTERNS: Sequence[tuple[Pattern, Callable[[_Found], Builder | None]]] = [
    (_GELU, _gelu),
    (_RMS_NORM, _rms_norm),
    (_CLASS_TOKEN, _class_token),
    (_ADAPTIVE_AVG_POOL, _adaptive_avg_pool),
    (_attention_pattern(masked=False), lambda found: _attention(found, masked=False)),
    (_attention_pattern(masked=True), lambda found: _attention(found, masked=True)),
]
