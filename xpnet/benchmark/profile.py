"""Which layer of a network costs what in a training step."""

from __future__ import annotations

import math
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
from xpnet.benchmark.xpnet_implementation import XpnetImplementation
from xpnet.kernels import sharing
from xpnet.layers import AvgPool2D, Conv2D, Dense, GlobalAvgPool2D, Layer, MaxPool2D
from xpnet.layers.base import Backward, Cache, Forward, Params, State
from xpnet.layers.containers import Wrapper, map_leaves
from xpnet.shapes import Shape

REST = "loss, θ, optimizer"
_SIDE, _COPIED = 2048, 1 << 24  # the side of a matrix, and values of an array that fits into no cache


class Cost(NamedTuple):
    """A layer's milliseconds in a step, the billions of operations in its products, and what it reads and writes.

    Operations are multiplications and additions. Megabytes are those of ``_values_moved``, or, in the row REST,
    of θ, its gradient and what the optimizer keeps. That row's milliseconds are all under ``forward_ms``.
    """

    name: str
    kind: str
    forward_ms: float
    backward_ms: float
    forward_gflop: float
    backward_gflop: float
    megabytes: float

    @property
    def ms(self) -> float:
        """Milliseconds in both directions."""
        return self.forward_ms + self.backward_ms

    @property
    def gflop(self) -> float:
        """Billions of operations in both directions."""
        return self.forward_gflop + self.backward_gflop


class Profile(NamedTuple):
    """Costs in order, and what bounds them all: billions of operations a second in a product of large matrices, and
    gigabytes a second that a copy of a large array reads and writes.
    """

    costs: list[Cost]
    product_rate: float
    copy_rate: float

    @property
    def total(self) -> Cost:
        """The sum of all costs."""
        return Cost("total", "", *(sum(column) for column in zip(*(cost[2:] for cost in self.costs), strict=True)))

    @property
    def products_ms(self) -> float:
        """Milliseconds that the products of a step would take at that rate."""
        return 1e3 * self.total.gflop / self.product_rate

    @property
    def traffic_ms(self) -> float:
        """Milliseconds that reading and writing would take at that rate."""
        return self.total.megabytes / self.copy_rate

    @property
    def floor_ms(self) -> float:
        """Milliseconds that a step takes at least: the larger of the two."""
        return max(self.products_ms, self.traffic_ms)


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
    product_rate = _product_rate(network.backend, implementation.wait)
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
        gflop = 2e-9 * layer.multiplications(shape) * case.batch_size
        wanted = gradients.get(name, 0)
        megabytes = 4e-6 * case.batch_size * _values_moved(layer, shape, gradients=wanted)
        costs.append(Cost(name, type(layer).__name__, forward, backward, gflop, gflop * wanted, megabytes))
    rest = max(0.0, 1e3 * median(steps) - sum(cost.ms for cost in costs))
    costs.append(Cost(REST, "", rest, 0.0, 0.0, 0.0, _update_megabytes(case, network.parameter_count)))
    # Last: where threads share the copying, BLAS has one thread from then on.
    return Profile(costs, product_rate, _copy_rate(network.backend, implementation.wait))


def _values_moved(layer: Layer, input_shape: Shape, *, gradients: int) -> int:
    """Values of one image that a step reads and writes where element-wise layers are computed with their neighbours.

    Convolutions, dense layers and pools read x and write y; backward they read dL/dy and x, and write dL/dx where it is
    asked for, for which ``gradients`` is 2.
    """
    if not isinstance(layer, Conv2D | Dense | MaxPool2D | AvgPool2D | GlobalAvgPool2D):
        return 0
    ours, theirs = math.prod(input_shape), math.prod(layer.output_shape(input_shape))
    return (1 + gradients) * ours + 2 * theirs


def _update_megabytes(case: Case, parameters: int) -> float:
    """θ and each vector that the optimizer keeps are read and written, the gradient written and read."""
    return 8e-6 * parameters * (3 if case.optimizer == "momentum" else 4)


def _product_rate(backend: Backend, wait: Callable[[], None]) -> float:
    """The best of a few products in float32."""
    matrix = backend.asarray(np.ones((_SIDE, _SIDE), dtype=np.float32))
    return 2e-9 * _SIDE**3 / _fastest(lambda: kernels.matmul(matrix, matrix), wait)


def _copy_rate(backend: Backend, wait: Callable[[], None]) -> float:
    """The best of a few copies of an array that fits into no cache, into memory that was used before."""
    values = backend.asarray(np.ones(_COPIED, dtype=np.float32))
    parts = np.array_split(values, sharing.threads()) if backend.name == "numpy" else [values]
    return 8e-9 * _COPIED / _fastest(lambda: sharing.parallel_map(backend.xp.negative, parts, _COPIED), wait)


def _fastest(call: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Seconds of the fastest of a few calls."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)
