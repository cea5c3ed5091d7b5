"""What share of many GPUs' speed data-parallel training keeps: a model of a step, and its predictions.

    T(n) = C + max(R(n) - h·C, 0) + S(n);  efficiency(n) = C / T(n)
    R(n) = 2(n-1)/n · B/w + 2·log2(n)·a;  S(n) = b · (2·log2(n)·a + 2(n-1)/n · s/w)

with C the seconds of a step on one GPU, B the bytes of the gradient, w the bandwidth between ranks in bytes per second
(of a ring's slowest link), a the latency of a message, h the share of C in the background of which the reduction can go
on (0 as xpnet reduces; about 1/2 where the last layers' gradient is sent while that of the first is computed), and b
small all-reduces of s bytes for synchronised batch normalisation.

    python -m xpnet.benchmark.efficiency docs/images/scaling.png

Source: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69(2), 2009 (the ring); Thakur et al., IJHPCA 19(1), 2005.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from xpnet import plots

RESNET50_VALUES = 25_557_032
BATCH_NORMS, CHANNELS = 53, 500  # of ResNet-50, and their mean number
GPUS = 2.0 ** np.arange(0, 11)


def reduction_time(ranks: int, size: float, bandwidth: float, latency: float) -> float:
    """R(n): seconds of an all-reduce of so many bytes."""
    return 2 * (ranks - 1) / ranks * size / bandwidth + 2 * math.log2(ranks) * latency


class Fit(NamedTuple):
    """Bandwidth, latency, and the model's relative error at what was measured: root mean square, and largest."""

    bandwidth: float
    latency: float
    error: float
    largest_error: float


def fit_reductions(ranks: int, sizes: np.ndarray, seconds: np.ndarray) -> Fit:
    """The bandwidth w and latency a for which the squared relative errors of R(n) are least.

    Shapes: sizes (K,) in bytes, seconds (K,).
    """
    factors = [[reduction_time(ranks, size, 1.0, 0.0), reduction_time(ranks, 0.0, 1.0, 1.0)] for size in sizes]
    relative = np.array(factors) / seconds[:, None]  # R = factors · (1/w, a)
    (per_byte, latency), *_ = np.linalg.lstsq(relative, np.ones(len(sizes)), rcond=None)
    errors = np.abs(relative @ [per_byte, latency] - 1)
    return Fit(1 / per_byte, latency, float(np.sqrt(np.mean(errors**2))), float(errors.max()))


@dataclass(frozen=True)
class Cluster:
    """Seconds of a step on one GPU; bytes per second and seconds of latency, within a machine and between machines."""

    step: float
    bandwidth: tuple[float, float]
    latency: tuple[float, float]
    in_machine: int = 8
    bytes_per_value: int = 4
    hidden: float = 0.0
    synchronised: bool = True

    def reduction(self, ranks: int, size: float) -> float:
        """Seconds of an all-reduce of so many bytes."""
        between = ranks > self.in_machine
        return reduction_time(ranks, size, self.bandwidth[between], self.latency[between])

    def efficiency(self, ranks: int) -> float:
        """Share of the speed of so many independent GPUs."""
        gradient = self.reduction(ranks, RESNET50_VALUES * self.bytes_per_value)
        # Forward sums, sums of squares and a count; backward two sums.
        statistics = BATCH_NORMS * (self.reduction(ranks, 4 * (2 * CHANNELS + 1)) + self.reduction(ranks, 8 * CHANNELS))
        exposed = max(gradient - self.hidden * self.step, 0.0)
        return self.step / (self.step + exposed + self.synchronised * statistics)


# Assumed: 2,500 images per second and 256 in a batch on an H100; 8 of them joined by NVLink, and 400 Gb/s for each at
# 80 % of the line rate; latencies as of NCCL.
H100 = Cluster(step=256 / 2500, bandwidth=(360e9, 40e9), latency=(5e-6, 12e-6))
# Assumed: 200 images per second and 32 in a batch on a P100; 8 of them on PCI Express, two lines of 56 Gb/s for all 8,
# which the ring crosses once.
P100 = Cluster(step=32 / 200, bandwidth=(11e9, 11e9), latency=(10e-6, 20e-6), synchronised=False)
CURVES = {
    "H100, one reduction at the end": H100,
    "the same, statistics of each rank": replace(H100, synchronised=False),
    "the same, half of the step hides it": replace(H100, hidden=0.5, synchronised=False),
    "P100, two lines of 56 Gb/s": P100,
}
PUBLISHED = {"ChainerMN": (128, 0.90), "Goyal et al.": (256, 0.90)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the predictions as a table, and draw them."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.efficiency", description="Predict efficiencies.")
    parser.add_argument("plot", metavar="FILE", help="where the plot goes")
    flags = parser.parse_args(argv)
    ranks = [int(count) for count in GPUS]
    curves = {name: np.array([cluster.efficiency(count) for count in ranks]) for name, cluster in CURVES.items()}
    print(f"| GPUs | {' | '.join(CURVES)} |\n|---{'|---' * len(CURVES)}|")
    for place, count in enumerate(ranks):
        print(f"| {count:,} | " + " | ".join(f"{100 * curve[place]:.0f} %" for curve in curves.values()) + " |")
    plots.save(plots.efficiency_curves(GPUS, curves, PUBLISHED), flags.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
