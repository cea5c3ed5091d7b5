"""xpnet's own step on any of its array libraries, as the trainer runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.benchmark.cases import SEED, Case
from xpnet.compile import compiled, graphed
from xpnet.layers.base import State
from xpnet.layout import walk
from xpnet.random import make_key
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step


class XpnetImplementation:
    """A network and its training step on one array library, with ``graph`` as one CUDA graph."""

    def __init__(self, case: Case, device: str, backend: str, *, graph: bool = False) -> None:
        self.network = case.network(device, backend)
        self._optimizer = case.make_optimizer()
        self._images, self._labels = map(self.network.backend.asarray, case.batch())
        theta, state = self.network.theta, self.network.state
        self._values = TrainState(theta, state, self._optimizer.init(theta))
        self._logits: Array | None = None
        self._key = self.network.backend.asarray(make_key(SEED))
        self._graph = graph

    def gradient(self) -> Mapping[str, np.ndarray]:
        """See ``Implementation``."""
        theta, state = self._values[:2]
        x = self.network.backend.xp.astype(self._images, theta.dtype)
        gradient = self.network.loss_and_gradient(theta, state, x, self._labels).gradient
        return {name: to_numpy(part) for name, part in walk(self.network.layout.unflatten(gradient))}

    def training(self) -> Callable[[], object]:
        """See ``Implementation``."""
        step, iteration = make_step(self.network, self._optimizer, accuracy), 0
        if self._graph:
            step = graphed(step, self.network.backend)
            logging.getLogger("xpnet.cuda_graph").addHandler(_NoGraph(logging.WARNING))
        key = self._key if self.network.layer.is_random else None

        def train() -> None:
            nonlocal iteration
            self._values, _ = step(self._values, self._images, self._labels, None, key, iteration)
            iteration += 1

        return train

    def inference(self) -> Callable[[], Any]:
        """See ``Implementation``."""

        def logits(theta: Array, state: State, images: Array) -> Array:
            return self.network.forward(theta, state, self.network.backend.xp.astype(images, theta.dtype)).y

        forward = compiled(logits, self.network.backend)

        def predict() -> Array:
            self._logits = forward(*self._values[:2], self._images)
            return self._logits

        return predict

    def wait(self) -> None:
        """See ``Implementation``."""
        backend = self.network.backend
        if backend.name == "jax":
            import_module("jax").block_until_ready((self._values, self._logits))
        elif backend.name == "cupy":
            backend.device.synchronize()
        elif backend.name == "torch" and backend.device.type == "cuda":
            import_module("torch").cuda.synchronize(backend.device)


class _NoGraph(logging.Handler):
    """Makes an error of the warning that steps go on without a graph: they must not be timed as if there were one."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(record.getMessage())


def make(case: Case, device: str, variant: str) -> XpnetImplementation:
    """The network on an array library (numpy, cupy, torch, jax) and a device of it; kernels are their process's."""
    backend, *words = variant.split("-")
    return XpnetImplementation(case, device, backend, graph="graph" in words)
