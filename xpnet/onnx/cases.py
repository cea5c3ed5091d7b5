"""ONNX's own cases for single operators, run by ``xpnet.onnx.backend`` on the arrays of a library."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Backend
from xpnet.onnx.backend import XpnetBackend
from xpnet.onnx.library import load_onnx
from xpnet.onnx.operators import DOMAINS
from xpnet.onnx.operators.call import DTYPES

TYPES, RANDOM, UINT64, HALF = "other types", "random bits", "uint64", "float16"
REASONS: Mapping[str, str] = {
    TYPES: "a text, a sequence, or numbers that not every array library has (bfloat16 and narrower)",
    RANDOM: "zeros drawn by NumPy's legacy generator, which no formula defines",
    UINT64: "PyTorch does not compute with it",
    HALF: "CuPy rounds attention in other places than the reference, whose own rounding is as large as the tolerance",
}


@dataclass
class Row:
    """How many cases of an operator there are, how many were left out and why, and passed by library."""

    cases: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)  # by library and case: what went wrong


@cache
def all_cases() -> tuple[Any, ...]:
    """Every case that onnx has for an operator, expanded forms included."""
    with warnings.catch_warnings(action="ignore"):  # some inputs are made by overflow
        return tuple(import_module("onnx.backend.test.loader").load_node_model_tests())


def claimed() -> Iterator[tuple[str, Any]]:
    """The cases of known operators by the operator's name; of an operator's expanded form all must be known."""
    for case in all_cases():
        if XpnetBackend.is_compatible(case.model):
            yield operator_of(case), case


def operator_of(case: Any) -> str:
    """The operator that a case is for; of an expanded form it stands in the names of the nodes."""
    node = case.model.graph.node[0]
    if "_expanded" in case.name:
        names = {node.name.partition("_test_")[0] for node in case.model.graph.node if "_test_" in node.name}
        return f"{min(names)}, expanded" if names else f"{node.op_type}, expanded"
    return node.op_type


def left_out(case: Any, library: str) -> str | None:
    """Why a case is not run; None if it is."""
    graph = case.model.graph
    numbers = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    numbers |= {
        attribute.i
        for node in graph.node
        for attribute in node.attribute
        if (node.op_type, attribute.name) == ("Cast", "to")
    }
    numbers |= {attribute.t.data_type for node in graph.node for attribute in node.attribute if attribute.HasField("t")}
    if not numbers <= set(DTYPES):
        return TYPES
    if case.name.startswith("test_training_dropout") and "zero_ratio" not in case.name:
        return RANDOM
    if library == "torch" and "uint64" in {DTYPES[number] for number in numbers}:
        return UINT64
    if library == "cupy" and case.name.startswith("test_attention") and case.name.endswith("fp16_expanded"):
        return HALF
    return None


def run(case: Any, home: Backend) -> None:
    """Run a case on the arrays of a library. Raises AssertionError if the outputs are not those expected."""
    program = XpnetBackend.prepare(case.model, "CUDA" if home.name == "cupy" else "CPU", backend=home.name)
    for inputs, expected in case.data_sets:
        with np.errstate(all="ignore"):
            outputs = program.run([home.asarray(host(x)) for x in inputs])
        for output in outputs:
            if (backends.backend_of(output).name, backends.backend_of(output).device) != (home.name, home.device):
                raise AssertionError(f"expected arrays of {home.name}, got one of {type(output)}")
        import_module("onnx.backend.test.runner").Runner.assert_similar_outputs(
            [host(x) for x in expected], [backends.to_numpy(x) for x in outputs], rtol=case.rtol, atol=case.atol
        )


def host(value: Any) -> np.ndarray:
    """An input or output of a case as an array of NumPy."""
    onnx = load_onnx()
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def tally(libraries: Mapping[str, Backend]) -> dict[str, Row]:
    """Run all cases of known operators on each library: what came of them, by operator."""
    rows: dict[str, Row] = {}
    for operator, case in claimed():
        row = rows.setdefault(operator, Row())
        row.cases += 1
        reasons = {library: left_out(case, library) for library in libraries}
        for reason in set(filter(None, reasons.values())):
            row.left_out[reason] += 1
        for library, home in libraries.items():
            if reasons[library]:
                continue
            try:
                run(case, home)
                row.passed[library] += 1
            except Exception as error:  # the judge has its own kinds
                row.failed[f"{library} {case.name}"] = " ".join(str(error).split())[:300]
    return dict(sorted(rows.items()))


def known_operators() -> list[str]:
    """Names of all operators in the table."""
    return sorted({name for operators in DOMAINS.values() for name in operators})
