"""Which layer of a network costs what in a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend
from xpnet.benchmark.cases import Case
from xpnet.benchmark.work import multiplications
from xpnet.benchmark.xpnet_implementation import XpnetImplementation
from xpnet.layers.base import Backward, Cache, Forward, Params, State
from xpnet.layers.containers import Wrapper, map_leaves

REST = "loss, θ, optimizer"
_SIDE = 2048


class Cost(NamedTuple):
    """A layer's milliseconds in a step, and the billions of operations in its products, additions among them.

    Those of the row REST are all under ``forward_ms``.
    """

    name: str
    kind: str
    forward_ms: float
    backward_ms: float
    forward_gflop: float
    backward_gflop: float

    @property
    def ms(self) -> float:
        """Milliseconds in both directions."""
        return self.forward_ms + self.backward_ms

    @property
    def gflop(self) -> float:
        """Billions of operations in both directions."""
        return self.forward_gflop + self.backward_gflop


class Profile(NamedTuple):
    """Costs in order, and billions of operations a second in a product of large matrices, which bounds them all."""

    costs: list[Cost]
    product_rate: float

    @property
    def total(self) -> Cost:
        """The sum of all costs."""
        return Cost("total", "", *(sum(column) for column in zip(*(cost[2:] for cost in self.costs), strict=True)))

    @property
    def floor_ms(self) -> float:
        """Milliseconds that the products of a step would take at that rate."""
        return 1e3 * self.total.gflop / self.product_rate


@dataclass(frozen=True, eq=False)
class _Timed(Wrapper):
    """A layer that notes how long each call takes."""

    name: str
    wait: Callable[[], None]
    seconds: dict[tuple[str, str], list[float]] = field(repr=False)
    gradients: dict[str, int] = field(repr=False)  # 2 where a layer is asked for its input's beside its weight's

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return self._note("forward", lambda: self.inner.unchecked_forward(params, state, x, train=train, key=key))

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        self.gradients[self.name] = 1 + need_dx
        return self._note("backward", lambda: self.inner.unchecked_backward(params, cache, dy, need_dx=need_dx))

    def _note(self, direction: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        self.wait()
        self.seconds[self.name, direction].append(time.perf_counter() - start)
        return result


def profile(case: Case, device: str, backend: str, seconds: float) -> Profile:
    """Median cost of every layer over the steps that fit into some seconds, and of the rest of the step.

    On a GPU each layer is waited for, so that the sum is more than a step takes.
    """
    implementation, noted, gradients = XpnetImplementation(case, device, backend), defaultdict(list), dict[str, int]()
    network = implementation.network
    rate = _product_rate(network.backend, implementation.wait)
    network.layer = map_leaves(
        lambda name, leaf: _Timed(leaf, name, implementation.wait, noted, gradients), network.layer
    )
    train, steps = implementation.training(), []
    train()
    noted.clear()
    end = time.perf_counter() + seconds
    while not steps or time.perf_counter() < end:
        start = time.perf_counter()
        train()
        implementation.wait()
        steps.append(time.perf_counter() - start)
    costs = []
    for name, layer, shape in case.layer.leaves(case.input_shape):
        forward, backward = (1e3 * median(noted.get((name, way), [0.0])) for way in ("forward", "backward"))
        gflop = 2e-9 * multiplications(layer, shape) * case.batch_size
        costs.append(Cost(name, type(layer).__name__, forward, backward, gflop, gflop * gradients.get(name, 0)))
    rest = max(0.0, 1e3 * median(steps) - sum(cost.ms for cost in costs))
    return Profile([*costs, Cost(REST, "", rest, 0.0, 0.0, 0.0)], rate)


def _product_rate(backend: Backend, wait: Callable[[], None]) -> float:
    """The best of a few products in float32."""
    matrix = backend.asarray(np.ones((_SIDE, _SIDE), dtype=np.float32))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        kernels.matmul(matrix, matrix)
        wait()
        times.append(time.perf_counter() - start)
    return 2e-9 * _SIDE**3 / min(times)
