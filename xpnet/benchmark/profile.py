"""Which layer of a network costs what in a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.benchmark.cases import Case
from xpnet.benchmark.own import Own
from xpnet.layers.base import Backward, Cache, Forward, Params, State, Wrapper
from xpnet.layers.containers import map_leaves

REST = "loss, θ, optimizer"


class Cost(NamedTuple):
    """A layer's milliseconds in a step; those of the row REST are all under ``forward_ms``."""

    name: str
    kind: str
    forward_ms: float
    backward_ms: float


@dataclass(frozen=True, eq=False)
class _Timed(Wrapper):
    """A layer that notes how long each call takes."""

    name: str
    wait: Callable[[], None]
    seconds: dict[tuple[str, str], list[float]] = field(repr=False)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return self._note("forward", lambda: self.inner.forward(params, state, x, train=train, key=key))

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        return self._note("backward", lambda: self.inner.backward(params, cache, dy, need_dx=need_dx))

    def _note(self, direction: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        self.wait()
        self.seconds[self.name, direction].append(time.perf_counter() - start)
        return result


def profile(case: Case, device: str, backend: str, seconds: float) -> list[Cost]:
    """Median cost of every layer over the steps that fit into some seconds, and of the rest of the step.

    On a GPU each layer is waited for, so that the sum is more than a step takes.
    """
    contender, noted = Own(case, device, backend), defaultdict(list)
    network = contender.network
    network.layer = map_leaves(lambda name, leaf: _Timed(leaf, name, contender.wait, noted), network.layer)
    train, steps = contender.training(), []
    train()
    noted.clear()
    end = time.perf_counter() + seconds
    while not steps or time.perf_counter() < end:
        start = time.perf_counter()
        train()
        contender.wait()
        steps.append(time.perf_counter() - start)
    costs = [
        Cost(
            leaf.name,
            type(leaf.layer).__name__,
            *(1e3 * median(noted.get((leaf.name, direction), [0.0])) for direction in ("forward", "backward")),
        )
        for leaf in case.layer.leaves(case.input_shape)
    ]
    layers = sum(cost.forward_ms + cost.backward_ms for cost in costs)
    return [*costs, Cost(REST, "", max(0.0, 1e3 * median(steps) - layers), 0.0)]
