"""The nodes of a graph that lead from its input to its output, with what is constant computed beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import backend as backends
from xpnet.backend import to_numpy
from xpnet.errors import InputError, printable
from xpnet.onnx.library import load_onnx
from xpnet.onnx.operators import OPERATORS, Call
from xpnet.onnx.program import Step, at, attributes, from_host, label, run
from xpnet.shapes import Shape

FOLDED = (
    *("Add", "Div", "Mul", "Neg", "Sqrt", "Sub"),
    *("Cast", "Concat", "Constant", "ConstantOfShape", "Gather", "Identity", "Reshape", "Slice", "Squeeze"),
    *("Transpose", "Unsqueeze"),
)
LARGEST_INPUT = 2**24  # values of one example
LARGEST_CONSTANT = 2**28  # values that the nodes of a graph make out of nothing or copy, all together


@dataclass(frozen=True)
class Node:
    """A node whose value depends on the graph's input."""

    label: str
    operator: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    output: str
    constants: Mapping[str, np.ndarray]  # all of the graph
    build: Callable[..., Any] | None = None  # of a layer that was several nodes, see ``patterns``

    @property
    def sources(self) -> list[str]:
        """The inputs that are not constant, in order."""
        return [name for name in self.inputs if name and name not in self.constants]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def constant(self, position: int, what: str) -> np.ndarray:
        """An input that must be constant, and there."""
        value = self.optional(position, what)
        if value is None:
            raise self.error(f"expected {what}, got none", "Check the model.")
        return value

    def optional(self, position: int, what: str) -> np.ndarray | None:
        """An input that must be constant, if it is there."""
        if position >= len(self.inputs) or not self.inputs[position]:
            return None
        if self.inputs[position] not in self.constants:
            raise self.error(
                f"expected {what} to be constant, got a value that the graph computes", "Make it constant."
            )
        return self.constants[self.inputs[position]]

    def error(self, message: str, advice: str) -> InputError:
        """An InputError that names the node."""
        return InputError(f"ONNX {self.label}: {message}. {advice}")


@dataclass(frozen=True)
class Nodes:
    """Nodes by their outputs, in an order in which they can be computed; input (without the batch) and output."""

    by_output: Mapping[str, Node]
    input: str
    input_shape: Shape
    output: str


def read_nodes(model: Any) -> Nodes:
    """The nodes between input and output. Raises InputError for a graph that has not exactly one of each."""
    graph, host = model.graph, backends.resolve()
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        with at(f"initializer {tensor.name!r}"):
            constants[tensor.name] = _checked_tensor(tensor)
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise InputError(
            f"ONNX graph: expected one input and one output, got {len(inputs)} and {len(graph.output)}. "
            "Cut the graph with onnx.utils.extract_model."
        )
    name, output, nodes = inputs[0].name, graph.output[0].name, {}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    version, made = opsets.get("", opsets.get("ai.onnx", 0)), 0
    further: set[str] = set()
    for proto in graph.node:
        for used in proto.input:
            if used in further:
                raise InputError(
                    f"ONNX {label(proto)}: expected first outputs of nodes, got {used!r}, a further one. "
                    "Only first outputs are known; replace a Split by Slices."
                )
            if used and used not in constants and used not in nodes and used != name:
                raise InputError(
                    f"ONNX {label(proto)}: expected inputs from nodes before it, got {used!r}, which none gives. "
                    "Check the model for cycles and missing initializers."
                )
        further.update(filter(None, proto.output[1:]))
        with at(label(proto)):
            _check_node(proto, version)
            if proto.output[0] == name or proto.output[0] in nodes or proto.output[0] in constants:
                raise InputError("expected a new name for its output, got a known one")
            node = Node(
                label(proto),
                proto.op_type,
                version,
                attributes(proto, host),
                tuple(proto.input),
                proto.output[0],
                constants,
            )
        if node.sources:
            nodes[node.output] = node
            continue
        if proto.op_type not in FOLDED:
            raise node.error(
                "expected an operator that is known for constants", f"Known are {', '.join(sorted(FOLDED))}."
            )
        fold(node, constants, LARGEST_CONSTANT - made)
        made += constants[node.output].size
    if output not in nodes:
        raise InputError(f"ONNX graph: expected an output {output!r} that depends on the input, got none. Check it.")
    return Nodes(needed(nodes, output), name, _input_shape(inputs[0]), output)


def _check_node(proto: Any, version: int) -> None:
    """Raise InputError for a node that its operator's definition does not allow."""
    if not proto.output:
        raise InputError("expected an output, got none")
    if proto.domain not in ("", "ai.onnx"):
        raise InputError(f"ONNX {label(proto)}: expected ONNX's own domain, got {proto.domain!r}. Replace it.")
    onnx = load_onnx()
    if isinstance(proto.op_type, str) and onnx.defs.has(proto.op_type):  # bytes, where it is not text
        context = onnx.checker.C.CheckerContext()
        context.ir_version, context.opset_imports = onnx.IR_VERSION, {"": version}
        try:
            onnx.checker.check_node(proto, context)
        except onnx.checker.ValidationError as error:
            reason = printable(" ".join(str(error).partition("==>")[0].split()))
            raise InputError(reason[:300]) from error


def fold(node: Node, constants: dict[str, np.ndarray], room: int = LARGEST_CONSTANT) -> None:
    """Compute a node of constants. Raises InputError for more values than there is room for, mostly beforehand."""
    step = Step(node.label, OPERATORS[node.operator], Call(node.attributes, node.opset), node.inputs, (node.output,))
    arrays = [constants[name] for name in node.inputs if name]
    with at(node.label):
        size = _folded_size(node.operator, arrays)
    values: dict[str, Any] = {**{name: constants[name] for name in node.inputs if name}, "": None}
    if size <= room:
        run(step, values)
        size = values[node.output].size
    if size > room:
        raise node.error(f"expected constants of at most {LARGEST_CONSTANT:,} values, got more", "Store them.")
    constants[node.output] = to_numpy(values[node.output])


def _folded_size(operator: str, arrays: list[np.ndarray]) -> int:
    """How many values an operator makes of constants; 0 for those that make no more than they get or bound it."""
    if operator in FOLDED[:6]:
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    if operator == "Concat":
        return sum(array.size for array in arrays)
    if operator == "Gather" and len(arrays) == 2:
        return arrays[0].size * arrays[1].size
    return 0


def needed(nodes: Mapping[str, Node], output: str) -> dict[str, Node]:
    """The nodes that the output depends on, in their order."""
    wanted, found = [output], set()
    while wanted:
        name = wanted.pop()
        if name in nodes and name not in found:
            found.add(name)
            wanted += nodes[name].sources
    return {name: node for name, node in nodes.items() if name in found}


def _checked_tensor(tensor: Any) -> np.ndarray:
    """An initializer as an array, whose shape is that of the numbers it holds."""
    if any(length < 0 for length in tensor.dims):
        raise InputError(f"expected lengths of at least 0, got {list(tensor.dims)}")
    return from_host(load_onnx().numpy_helper.to_array(tensor), backends.resolve())


def _input_shape(value: Any) -> Shape:
    """Without the batch; every other length must be known."""
    tensor = value.type.tensor_type
    if tensor.elem_type not in (1, 7, 10, 11):
        raise InputError(f"ONNX input {value.name!r}: expected real numbers or int64, got another type. Convert it.")
    if not tensor.HasField("shape"):
        raise InputError(
            f"ONNX input {value.name!r}: expected a batch of vectors, sequences or images of a fixed size, got one "
            "without a shape. Export it with a shape; the batch may be free."
        )
    lengths = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    if not 2 <= len(lengths) <= 4 or any(n < 1 for n in lengths[1:]) or math.prod(lengths[1:]) > LARGEST_INPUT:
        raise InputError(
            f"ONNX input {value.name!r}: expected a batch of vectors, sequences or images of a fixed size, got "
            f"{['?' if n < 1 else n for n in lengths]}. Export it with fixed sizes; the batch may be free."
        )
    return tuple(lengths[1:])


def dominators(nodes: Nodes) -> dict[str, str]:
    """For each value that several others make, the last value before it that lies on all ways from the input.

    Source: Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm", 2001, on a graph without cycles.
    """
    above: dict[str, str] = {}
    depth = {nodes.input: 0}
    for name, node in nodes.by_output.items():
        common, *others = node.sources
        for other in others:
            while common != other:
                if depth[common] < depth[other]:
                    common, other = other, common
                common = above[common]
        above[name], depth[name] = common, depth[common] + 1
    return above


def resolve_shape(target: Sequence[int], count: int, advice: Node) -> list[int]:
    """The lengths that a Reshape gives, without the batch, for ``count`` values of each example."""
    rest = [int(n) for n in target[1:]]
    if rest.count(-1) > 1 or any(n < -1 for n in rest) or (-1 in rest and int(target[0]) == -1):
        raise advice.error(f"expected one unknown length, got {list(target)}", "Give the others.")
    if -1 in rest:
        known = math.prod(n for n in rest if n != -1)
        rest[rest.index(-1)] = count // max(known, 1)
    if math.prod(rest) != count:
        raise advice.error(
            f"expected a shape that keeps the batch and {count} values of each example, got {[int(n) for n in target]}",
            "Only such shapes are known.",
        )
    return rest
