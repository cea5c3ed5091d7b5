"""An ONNX graph as a program on arrays: its nodes one after another, in whatever library the inputs come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.onnx.library import load_onnx
from xpnet.onnx.operators import DOMAINS, Call, Operator
from xpnet.onnx.operators.call import DTYPES

_FAILURES = (
    *(ArithmeticError, AttributeError, IndexError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)


class Step(NamedTuple):
    """One node: what it is called in messages, its function, and the names of its inputs and outputs."""

    label: str
    operator: Operator
    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def label(node: Any) -> str:
    """A node in messages: its name, or that of its first output, and its operator."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node {name[:80]!r} ({repr(node.op_type[:40])[1:-1]})"  # texts from a file, on one line


@contextmanager
def at(where: str, advice: str = "Check the model.") -> Any:
    """Say which node an error comes from, in one line."""
    try:
        yield
    except InputError as error:
        if str(error).startswith("ONNX "):  # of a node further in
            raise
        raise InputError(f"ONNX {where}: {str(error).rstrip('.')}. {advice}") from error
    except _FAILURES as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"ONNX {where}: {reason[:300]}. {advice}") from error


def attributes(node: Any, backend: Backend) -> dict[str, Any]:
    """A node's attributes: numbers, texts, lists, and tensors as arrays of the backend."""
    onnx, values = load_onnx(), {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = from_host(onnx.numpy_helper.to_array(value), backend)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        values[attribute.name] = value
    for name, dtype in (
        ("value_float", "float32"),
        ("value_floats", "float32"),
        ("value_int", "int64"),
        ("value_ints", "int64"),
    ):
        if node.op_type == "Constant" and name in values:
            values[name] = from_host(np.asarray(values[name], dtype), backend)
    return values


def from_host(array: np.ndarray, backend: Backend) -> Array:
    """An array of NumPy in the backend's library; an error for dtypes that the library does not have."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected numbers of an array library, got {array.dtype}")
    return backend.asarray(array)


def find_operator(node: Any) -> Operator:
    """The function of a node. Raises InputError, naming what is known, if there is none."""
    if node.domain not in DOMAINS:
        raise InputError(
            f"ONNX {label(node)}: expected a domain of {', '.join(filter(None, DOMAINS))}, got {node.domain!r}. "
            "Only ONNX's own operators are known."
        )
    return pick(f"ONNX {label(node)}, operator", DOMAINS[node.domain], node.op_type)


class Program:
    """A model's graph, with its initializers on a backend.

    Raises InputError, naming the node, for an operator that is not known.
    """

    def __init__(self, model: Any, backend: Backend) -> None:
        graph, self.backend = model.graph, backend
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        numpy_helper = load_onnx().numpy_helper
        self.constants: dict[str, Array] = {}
        for tensor in graph.initializer:
            with at(f"initializer {tensor.name!r}"):
                self.constants[tensor.name] = from_host(numpy_helper.to_array(tensor), backend)
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.declared = {value.name: _declared(value, backend) for value in graph.input}
        self.outputs = [value.name for value in graph.output]
        self.steps = [_step(node, opsets, backend) for node in graph.node]

    def __call__(self, inputs: Sequence[Array] | Mapping[str, Array]) -> tuple[Array, ...]:
        """The outputs for inputs, in order or by name. Raises InputError, naming the node, if one cannot compute."""
        if not isinstance(inputs, Mapping) and len(inputs) > len(self.inputs):
            raise InputError(f"ONNX: expected {len(self.inputs)} inputs, got {len(inputs)}. Leave out the others.")
        given = inputs if isinstance(inputs, Mapping) else dict(zip(self.inputs, inputs, strict=False))
        for name, array in given.items():
            if name not in self.declared:
                raise InputError(f"ONNX: expected inputs {', '.join(self.declared)}, got {name!r}. Leave it out.")
            with at(f"input {name!r}", "Pass what the model declares."):
                self.declared[name].check(array)
        missing = [name for name in self.inputs if name not in given]
        if missing:
            raise InputError(f"ONNX: expected an input {missing[0]!r}, got none. Pass {', '.join(self.inputs)}.")
        values: dict[str, Any] = {**self.constants, **given, "": None}
        with self.backend.current():
            for step in self.steps:
                run(step, values)
        return tuple(values[name] for name in self.outputs)


class _Declared(NamedTuple):
    """What a model says of an input: its dtype in the library, None for any, and lengths, None for one that is free."""

    dtype: Any
    lengths: tuple[int | None, ...] | None

    def check(self, array: Array) -> None:
        if self.dtype is not None and array.dtype != self.dtype:
            raise InputError(f"expected {self.dtype}, got {array.dtype}")
        shape, lengths = tuple(array.shape), self.lengths
        if lengths is not None and (
            len(shape) != len(lengths) or any(known not in (None, n) for known, n in zip(lengths, shape, strict=True))
        ):
            wanted = ", ".join("?" if n is None else str(n) for n in lengths)
            raise InputError(f"expected the shape ({wanted}), got {shape}")


def _declared(value: Any, backend: Backend) -> _Declared:
    tensor = value.type.tensor_type
    name = DTYPES.get(tensor.elem_type)
    dtype = None if name is None else backend.asarray(np.zeros(0, name)).dtype  # JAX's without 64 bits is another
    if not tensor.HasField("shape"):
        return _Declared(dtype, None)
    return _Declared(dtype, tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim))


def run(step: Step, values: dict[str, Any]) -> None:
    """Compute a node's outputs from values by name, and put them there."""
    with at(step.label):
        arrays = [values[name] for name in step.inputs]
        while arrays and arrays[-1] is None:
            arrays.pop()
        results = step.operator(step.call, *arrays)
        results = results if isinstance(results, tuple) else (results,)
        values.update(zip(step.outputs, map(_as_array, results), strict=False))


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.generic) else value


def _step(node: Any, opsets: Mapping[str, int], backend: Backend) -> Step:
    operator = find_operator(node)
    with at(label(node)):
        outputs = tuple(node.output)
        version = opsets.get(node.domain, 1)
        asked = max((i + 1 for i, name in enumerate(outputs) if name), default=1)
        return Step(label(node), operator, Call(attributes(node, backend), version, asked), tuple(node.input), outputs)
