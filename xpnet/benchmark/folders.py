"""Training on a folder of images, which threads decode while it goes on, beside training on the same images in memory.

``python -m xpnet.benchmark.folders`` draws images into a temporary folder and prints the table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xpnet import datasets, models
from xpnet.datasets import Dataset
from xpnet.datasets.augment import HorizontalFlip, RandomCrop
from xpnet.optimizers import Momentum
from xpnet.runtime import Runtime, cores
from xpnet.training import TrainConfig, Trainer

_CLASSES, _TEST_IMAGES = 4, 40


@dataclass(frozen=True)
class Case:
    """A network, the images it learns (a file's ending, their number and side in pixels), and the turns' steps."""

    model: str
    batch_size: int
    ending: str
    count: int
    side: int
    steps: int


CASES = (
    Case("lenet5", 128, "png", 4000, 32, 15),
    Case("cifar10_cnn", 128, "png", 4000, 32, 4),
    Case("resnet18", 32, "jpg", 2000, 96, 1),
)


def draw(case: Case, root: Path) -> None:
    """Write smooth random images, class by class, as ``datasets.load("folder")`` reads them."""
    rng = np.random.default_rng(0)
    for part, count in (("train", case.count), ("test", _TEST_IMAGES)):
        for number in range(count):
            folder = root / part / f"class{number % _CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((case.side, case.side), Image.Resampling.BICUBIC).save(folder / f"{number}.{case.ending}")


def measure(case: Case, threads: int, rounds: int) -> tuple[float, float]:
    """Images per second from the folder and from memory: medians of turns, a few steps each."""
    with tempfile.TemporaryDirectory() as root:
        draw(case, Path(root))
        files = datasets.load("folder", root, image_size=(case.side, case.side))
        loaded = {name: np.asarray(getattr(files, name)[:]) for name in ("train_inputs", "test_inputs")}
        trainers = [_trainer(case, data, threads) for data in (files, replace(files, **loaded))]
        rates: list[list[float]] = [[], []]
        for turn in range(rounds + 1):  # the first turn is not counted
            for trainer, found in zip(trainers, rates, strict=True):
                rate = _images_per_second(trainer, case)
                found += [rate] if turn else []
        folder, memory = map(statistics.median, rates)
        return folder, memory


def _trainer(case: Case, data: Dataset, threads: int) -> Trainer:
    network = models.create(case.model, input_shape=data.input_shape, classes=_CLASSES)
    augmentation: Any = (RandomCrop(2), HorizontalFlip())
    config = TrainConfig(
        iterations=10**6, batch_size=case.batch_size, optimizer=Momentum(1e-6), augmentation=augmentation
    )
    return Trainer(network, data, config, Runtime(threads=threads))


def _images_per_second(trainer: Trainer, case: Case) -> float:
    start = time.perf_counter()
    for _ in range(case.steps):
        trainer.step()
    return case.batch_size * case.steps / (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.folders", description=__doc__)
    parser.add_argument("--threads", type=int, default=cores(), help="of the kernels (default: one for each core)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each, of which the median counts (default: 7)")
    arguments = parser.parse_args(argv)
    print("| network, images in a batch | images | from the folder, images/s | from memory | ratio |")
    print("|---|---|--:|--:|--:|")
    for case in CASES:
        folder, memory = measure(case, arguments.threads, arguments.rounds)
        name, kind = f"`{case.model}`, {case.batch_size}", f"{case.ending.upper()}, {case.side}x{case.side}"
        print(f"| {name} | {kind} | {folder:,.0f} | {memory:,.0f} | **{folder / memory:.2f}** |")


if __name__ == "__main__":
    main()
