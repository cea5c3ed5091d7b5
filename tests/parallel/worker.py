"""What the tests let ranks do: train one of a few networks, and print what came out of it on rank 0."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np

from xpnet import Network, Runtime
from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from xpnet.optimizers import Adam, Momentum
from xpnet.training import TrainConfig, Trainer

STEPS = 200
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": (
        [Flatten(), Dense(16), ReLU(), Dense(4)],
        {"optimizer": Momentum(0.1, momentum=0.9)},
    ),
    "random": (
        [Conv2D(4, 3), BatchNorm(), ReLU(), MaxPool2D(2), Dropout(0.3), Flatten(), Dense(8), BatchNorm(), Dense(4)],
        {
            "optimizer": Momentum(0.05),
            "augmentation": (RandomCrop(1), HorizontalFlip(), Cutout(2)),
            "clip_norm": 1.0,
            "ema": 0.9,
        },
    ),
    "weighted": (
        [Flatten(), Dense(8), ReLU(), Dense(4)],
        {"optimizer": Adam(1e-2), "class_weight": {0: 0.5, 1: 2.0, 2: 1.0, 3: 0.0}},
    ),
}


def data(count: int = 75) -> Dataset:
    """Small random images of four classes."""
    rng = np.random.default_rng(5)
    labels = rng.integers(4, size=count).astype(np.int32)
    images = rng.normal(size=(count, 6, 6, 2)) + labels[:, None, None, None]
    return Dataset.from_arrays(images, labels, validation=(images[:7], labels[:7]))


def make_trainer(case: str, parallel: str | None, backend: str, dtype: str, steps: int, **changes: Any) -> Trainer:
    """A trainer of one of the cases."""
    layers, settings = CASES[case]
    network = Network(layers, (6, 6, 2), dtype=dtype, device="cuda:0" if backend == "cupy" else "cpu", backend=backend)
    weights = np.arange(75) % 3 if case == "weighted" else None
    as_stream, allreduce_dtype = changes.pop("stream", False), changes.pop("allreduce_dtype", None)
    config = TrainConfig(
        **{"iterations": steps, "batch_size": 16, "report_every": min(steps, 20), **settings, **changes}
    )
    source: Any = data()
    if as_stream:
        config = dataclasses.replace(config, batch_size=10)
        source = [(source.train_inputs[i : i + 10], source.train_targets[i : i + 10]) for i in range(0, 75, 10)]
    threads = 1 if backend in ("numpy", "torch") else None
    runtime = Runtime(parallel=parallel, threads=threads, allreduce_dtype=allreduce_dtype)
    return Trainer(network, source, config, runtime, sample_weight=weights)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """Losses, scores and parameters."""
    history = trainer.history.to_dict()
    names = ("iteration", "loss", "train_accuracy", "validation_loss", "validation_accuracy")
    tensors = {name: to_numpy(tensor).tolist() for name, tensor in trainer.network.tensors().items()}
    return {**{name: history[name] for name in names}, "tensors": tensors}


def main() -> None:
    """Train as the arguments say; rank 0 prints what came out of it."""
    case, parallel, backend, dtype, steps, changes = sys.argv[1:]
    trainer = make_trainer(
        case, None if parallel == "none" else parallel, backend, dtype, int(steps), **json.loads(changes)
    )
    trainer.run()
    if trainer.group.rank == 0:
        print(json.dumps(outcome(trainer)))


if __name__ == "__main__":
    main()
