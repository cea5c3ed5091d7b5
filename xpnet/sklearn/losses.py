"""scikit-learn's losses: summed over the outputs of an example where xpnet's are means."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backend import Array
from xpnet.losses import BinaryCrossEntropy, LossForward, MeanSquaredError


@dataclass(frozen=True)
class HalfSquaredError(MeanSquaredError):
    """l_n = 1/2 Σ_k (y[n,k] - t[n,k])²;  dl_n/dy[n,k] = y[n,k] - t[n,k]."""

    def distance(self, d: Array) -> Array:
        """f(d) = K·d²/2, of which l_n is the mean."""
        return d.shape[1] / 2 * (d * d)

    def slope(self, d: Array) -> Array:
        """f'(d) = K·d."""
        return d.shape[1] * d


@dataclass(frozen=True)
class SummedBinaryCrossEntropy(BinaryCrossEntropy):
    """l_n = -Σ_k t[n,k] log p[n,k] + (1 - t[n,k]) log(1 - p[n,k]), with gradient p - t: K times xpnet's."""

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        labels = outputs.shape[1]
        loss, cache = super().forward(outputs, targets, weights)
        return LossForward(labels * loss, {**cache, "factors": labels * cache["factors"]})
