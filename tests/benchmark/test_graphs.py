"""Steps as CUDA graphs in the benchmark, on stand-ins for what PyTorch and CuPy need a GPU for.

They show that whatever changes from step to step reaches a replay, and that a step without a graph is not timed as one.
Whether CUDA can record PyTorch's kernels is for a GPU to show.
"""

import dataclasses
import importlib
import logging
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from tests.benchmark.test_peers import assert_same_gradient
from xpnet.benchmark import implementation, xpnet_implementation
from xpnet.benchmark.cases import find_cases

STEPS = 4


def make_tape(torch):
    """The class of a tape, on which operations are written as they are computed; ``replay`` computes them again."""
    dispatch = importlib.import_module("torch.utils._python_dispatch")

    class Tape(dispatch.TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.operations = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            self.operations.append((function, args, kwargs or {}, result))
            return result

        def replay(self):
            with torch.no_grad():
                for function, args, kwargs, result in self.operations:
                    for old, new in zip(tensors(result), tensors(function(*args, **kwargs)), strict=True):
                        if old.data_ptr() != new.data_ptr():
                            old.data.copy_(new)

    return Tape


def tensors(result):
    results = result if isinstance(result, tuple | list) else [result]
    return [tensor for tensor in results if hasattr(tensor, "data_ptr")]


@pytest.fixture
def cuda(monkeypatch):
    """What recording takes of ``torch.cuda``; unlike on a GPU, what is recorded is computed as well."""
    torch, calls = pytest.importorskip("torch"), []

    class Stream:
        def wait_stream(self, other):
            calls.append("wait")

    @contextmanager
    def using(name, *_):
        calls.append(f"begin {name}")
        yield
        calls.append(f"end {name}")

    @contextmanager
    def graph(tape):
        with using("graph"), tape:
            yield

    stand_ins = {
        "device": lambda device: using("device"),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: using("stream"),
        "CUDAGraph": make_tape(torch),
        "graph": graph,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_get_capturable_supported_devices", lambda: ["cpu"])
    return calls


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_pytorchs_replays_are_its_steps(cuda, optimizer):
    (case,) = find_cases("mnist_starter", (4,))
    case = dataclasses.replace(case, optimizer=optimizer, weight_decay=0.1, learning_rate=0.001, dtype="float64")
    graphed, plain = (implementation.make(name, case, "cpu") for name in ("torch-graphs", "torch"))
    replay, step = graphed.training(), plain.training()
    assert cuda == [
        *("begin device", "wait", "begin stream", "end stream", "wait"),
        *("begin graph", "end graph", "end device"),
    ]
    for _ in range(STEPS):
        replay()
    for _ in range(3 + 1 + STEPS):  # before recording, while recording, replayed
        step()
    assert_same_gradient(graphed.gradient(), plain.gradient(), 1e-4)  # Adam counts recorded steps in float32


def test_pytorchs_replayed_inference_gives_its_logits(cuda):
    (case,) = find_cases("fer_cnn", (2,))
    graphed, plain = (implementation.make(name, case, "cpu").inference() for name in ("torch-graphs", "torch"))
    np.testing.assert_allclose(graphed(), plain(), rtol=1e-5, atol=1e-6)


@pytest.fixture
def recorded(monkeypatch, graphs):
    monkeypatch.setattr(logging.getLogger("xpnet.cuda_graph"), "handlers", [])
    return graphs


def test_xpnets_steps_are_replayed(recorded):
    (case,) = find_cases("mlp", (4,))
    case = dataclasses.replace(case, learning_rate=0.001)
    graphed, plain = (xpnet_implementation.make(case, "cuda", variant) for variant in ("cupy-graph", "cupy"))
    for step in (graphed.training(), plain.training()):
        for _ in range(STEPS):
            step()
    assert recorded["replays"] == STEPS - 1
    assert_same_gradient(graphed.gradient(), plain.gradient(), 1e-6)


def test_without_a_graph_xpnets_steps_are_not_timed(recorded, monkeypatch):
    def refuse(stream):
        raise RuntimeError("no capture")

    monkeypatch.setattr(importlib.import_module("cupy").cuda.Stream, "begin_capture", refuse)
    step = xpnet_implementation.make(find_cases("mlp", (4,))[0], "cuda", "cupy-graph").training()
    step()
    with pytest.raises(RuntimeError, match=r"CUDA graph: training goes on without one.*no capture"):
        step()
