"""ONNX models on array API arrays, behind ONNX's own interface for backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from xpnet import backend as backends
from xpnet.backend import Array
from xpnet.errors import InputError, printable
from xpnet.onnx.operators import DOMAINS
from xpnet.onnx.program import Program
from xpnet.onnx.reading import check_opset, external_tensors

__all__ = ["XpnetRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]

onnx: Any = import_module("onnx")
base: Any = import_module("onnx.backend.base")
DEVICES: Mapping[str, str] = {"CPU": "cpu", "CUDA": "cuda"}


class XpnetRep(base.BackendRep):
    """A model ready to run: on the library and device of each call's inputs."""

    def __init__(self, model: Any, backend: backends.Backend | None) -> None:
        self.model, self.backend = model, backend
        self._programs: dict[tuple[str, str], Program] = {}

    def run(self, inputs: Sequence[Array] | Mapping[str, Array] | Array, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs for inputs, in order or by name.

        Raises
        ------
        InputError
            Naming the input, if one is missing, unknown or of another type or shape than the model says, or the
            node, if one cannot compute.
        """
        if not isinstance(inputs, Mapping | list | tuple):
            inputs = [inputs]
        arrays = list(inputs.values() if isinstance(inputs, Mapping) else inputs)
        return self._program(arrays)(inputs)

    def _program(self, arrays: list[Array]) -> Program:
        """The model with its constants where the inputs are; under ``jax.jit`` that of the last run outside."""
        if arrays and backends.is_traced(arrays[0]):
            for (name, _), program in reversed(self._programs.items()):
                if name == "jax":
                    return program
            raise InputError("ONNX backend: expected a run on JAX arrays before one under jit, got none. Run it once.")
        home = self.backend or (backends.backend_of(arrays[0]) if arrays else backends.resolve())
        key = home.name, str(home.device)
        if key not in self._programs:
            self._programs[key] = Program(self.model, home)
        return self._programs[key]


class XpnetBackend(base.Backend):
    """Arrays come out in the library that they came in."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether all operators of a model are known."""
        return all(node.op_type in DOMAINS.get(node.domain, {}) for node in model.graph.node)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> XpnetRep:
        """A model ready to run, where its inputs are unless ``backend`` names a library.

        Raises
        ------
        InputError
            For a model that ONNX's checker or inference of types refuses, or a device or library that is not there.
        """
        if not cls.supports_device(device):
            raise InputError(f"ONNX backend: expected a device of {', '.join(DEVICES)}, got {device!r}. Choose one.")
        if not isinstance(model, onnx.ModelProto):
            raise InputError(
                f"ONNX backend: expected an onnx.ModelProto, got {type(model).__name__}. Read a file with onnx.load."
            )
        check_opset(model, "ONNX backend", least=0)  # of other domains alone, it has none
        _refuse_external(model)
        try:
            onnx.checker.check_model(model)
            onnx.shape_inference.infer_shapes(model, check_type=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            reason = printable(" ".join(str(error).split())).rstrip(".")
            raise InputError(f"ONNX backend: expected a valid model ({reason[:300]}). Check the model.") from error
        return XpnetRep(model, cls.home(device, kwargs.get("backend")))

    @classmethod
    def home(cls, device: str, backend: str | None) -> backends.Backend | None:
        """Where a model runs; None for where its inputs are."""
        family, _, index = device.partition(":")
        if family == "CPU" and backend is None:
            return None
        return backends.resolve(f"cuda:{index or 0}" if family == "CUDA" else "cpu", backend)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Array, ...]:
        """The outputs of one node.

        Raises
        ------
        InputError
            As running a model does.
        """
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.input if name],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        opset = onnx.helper.make_opsetid(node.domain, kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        model = onnx.helper.make_model(graph, opset_imports=[opset])
        _refuse_external(model)
        return XpnetRep(model, cls.home(device, None)).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is there."""
        family = device.partition(":")[0]
        if family == "CUDA":
            try:
                backends.resolve("cuda")
            except InputError:
                return False
        return family in DEVICES


def _refuse_external(model: Any) -> None:
    """Raise InputError for a tensor in another file: a model in memory has no folder of its own to look in."""
    for name, _ in external_tensors(model.graph):
        raise InputError(
            f"ONNX backend, tensor {name!r}: expected its numbers in the model, got another file's. "
            "Read the file with onnx.load."
        )


is_compatible, prepare = XpnetBackend.is_compatible, XpnetBackend.prepare
run_model, run_node, supports_device = XpnetBackend.run_model, XpnetBackend.run_node, XpnetBackend.supports_device
