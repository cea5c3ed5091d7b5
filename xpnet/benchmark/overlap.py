"""Whether an all-reduce can hide behind computation: products of matrices in place of a backward pass.

    mpiexec -n 2 python -m xpnet.benchmark.overlap

The vector is added after all products, or in slices between them by ``Iallreduce``, with ``Testall`` after each one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

_SLICES = (3, 11, 43)


class Overlap:
    """So many products of square matrices on each rank, and a vector of float32 that they add."""

    def __init__(self, mpi: Any, values: int, products: int, size: int) -> None:
        self._mpi, self._world, self._products = mpi, mpi.COMM_WORLD, products
        self._matrix, self._product = np.full((2, size, size), 1 / size, np.float32)
        self.vector = np.ones(values, np.float32)

    def products_alone(self) -> None:
        """Add nothing."""
        for _ in range(self._products):
            np.matmul(self._matrix, self._matrix, out=self._product)

    def at_the_end(self) -> None:
        """Compute, then add."""
        self.products_alone()
        self._world.Allreduce(self._mpi.IN_PLACE, self.vector)

    def between(self, slices: int, *, tested: bool = True) -> None:
        """Send a slice as soon as its share of the products is done."""
        parts, requests = np.array_split(self.vector, slices), []
        for product in range(1, self._products + 1):
            np.matmul(self._matrix, self._matrix, out=self._product)
            while len(requests) < product * slices // self._products:
                requests.append(self._world.Iallreduce(self._mpi.IN_PLACE, parts[len(requests)]))
            if tested:
                self._mpi.Request.Testall(requests)
        self._mpi.Request.Waitall(requests)

    def seconds(self, way: Callable[[], None]) -> float:
        """How long the slowest rank takes."""
        self.vector[:] = 1
        self._world.Barrier()
        start = time.perf_counter()
        way()
        return self._world.allreduce(time.perf_counter() - start, self._mpi.MAX)


def compare(overlap: Overlap, rounds: int) -> tuple[float, dict[str, float]]:
    """Seconds at the end, and the time of each way as a multiple of that: medians of rounds that have all ways."""
    ways: dict[str, Callable[[], None]] = {
        "at the end": overlap.at_the_end,
        "products alone": overlap.products_alone,
        **{f"{slices} slices": lambda slices=slices: overlap.between(slices) for slices in _SLICES},
        "11 slices, not tested": lambda: overlap.between(11, tested=False),
    }
    times = [[overlap.seconds(way) for way in ways.values()] for _ in range(rounds + 1)][1:]
    ratios = {name: statistics.median(row[i] / row[0] for row in times) for i, name in enumerate(ways)}
    return statistics.median(row[0] for row in times), ratios


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ways and their times, on rank 0."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.overlap", description="Time an overlap.")
    parser.add_argument("--values", type=int, default=11_173_962, help="of the vector; default: ResNet-18's")
    parser.add_argument("--products", type=int, default=88)
    parser.add_argument("--size", type=int, default=512, help="rows of a matrix")
    parser.add_argument("--rounds", type=int, default=12)
    flags = parser.parse_args(argv)
    mpi = import_module("mpi4py.MPI")
    seconds, ratios = compare(Overlap(mpi, flags.values, flags.products, flags.size), flags.rounds)
    if mpi.COMM_WORLD.rank == 0:
        print(f"at the end: {1e3 * seconds:.0f} ms")
        for name, ratio in ratios.items():
            print(f"| {name} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
