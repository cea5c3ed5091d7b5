"""The published experiments: the command of each, and what is read from its results."""

from __future__ import annotations

import csv
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.provenance import processor
from xpnet.runs.folder import RunFolder


class Contender(NamedTuple):
    """An optimizer, the learning rate it does well with in the comparison, and its published test accuracy."""

    optimizer: str
    learning_rate: float
    published: float


CONTENDERS: Mapping[str, Contender] = {
    "gradient descent": Contender("sgd", 0.5, 0.9792),
    "momentum": Contender("momentum", 0.5, 0.9806),
    "AdaGrad": Contender("adagrad", 0.01, 0.9753),
    "Adam": Contender("adam", 0.001, 0.9761),
}
PUBLISHED_WITH_BATCH_NORM = 0.971  # of one of them, which was not named


class Metric(NamedTuple):
    """A number that is published and measured: read from a run folder, a share of 1 or else an epoch."""

    name: str
    published: str
    read: Callable[[RunFolder], float]
    is_share: bool = True


@dataclass(frozen=True)
class Experiment:
    """A command of ``scripts/`` and the metrics that it gives.

    ``command`` is without seed and data folder. ``picture`` names the plot of seed 0 that the documentation shows.
    ``seeds`` is how many seeds, counted from 0, are run unless told otherwise.
    """

    command: str
    metrics: tuple[Metric, ...]
    picture: str
    seeds: int

    @property
    def needs_data_dir(self) -> bool:
        """Whether its images may have to be given; those of MNIST come with xpnet."""
        return "cifar10" in self.command

    @property
    def data(self) -> str:
        """What the page calls its images."""
        return "CIFAR-10 (JPEG)" if self.needs_data_dir else "drawn shapes" if "unet" in self.command else "MNIST"


def final_accuracy(folder: RunFolder) -> float:
    """Share of test images that were classified correctly."""
    return folder.read_summary()["test_accuracy"]


def optimizer_accuracy(name: str) -> Callable[[RunFolder], float]:
    """The test accuracy with one of the optimizers that were compared."""
    return lambda folder: folder.read_summary()["test_accuracy"][name]


def mean_iou(folder: RunFolder) -> float:
    """Intersection over union of the pixels of each class, averaged over the classes."""
    return statistics.fmean(value for value in folder.read_summary()["iou"] if value is not None)


def best_validation_accuracy(folder: RunFolder) -> float:
    """The highest validation accuracy of all reports."""
    return max(_column(folder, "validation_accuracy"))


def first_epoch(column: str, threshold: float) -> Callable[[RunFolder], float]:
    """The epoch, from 1, in which a metric of the history first reached a threshold; infinity if it never did."""

    def read(folder: RunFolder) -> float:
        iterations, epochs = _column(folder, "iteration"), folder.read_config().train.epochs or 0
        reached = [n for n, value in zip(iterations, _column(folder, column), strict=True) if value >= threshold]
        return math.ceil(reached[0] * epochs / iterations[-1]) if reached else math.inf

    return read


EXPERIMENTS: Mapping[str, Experiment] = {
    "optimizers": Experiment(
        "compare_optimizers.py",
        tuple(
            Metric(f"test accuracy with {name}", f"{100 * contender.published:.2f} %", optimizer_accuracy(name))
            for name, contender in CONTENDERS.items()
        ),
        picture="accuracy",
        seeds=3,
    ),
    "optimizers-batch-norm": Experiment(
        "compare_optimizers.py --batch-norm",
        tuple(
            Metric(
                f"test accuracy with {name}",
                f"{100 * PUBLISHED_WITH_BATCH_NORM:.1f} % of one",
                optimizer_accuracy(name),
            )
            for name in CONTENDERS
        ),
        picture="accuracy",
        seeds=3,
    ),
    "cnn_32_64": Experiment(
        "train.py --model cnn_32_64",
        (Metric("test accuracy", "99.15 %", final_accuracy),),
        picture="misclassified",
        seeds=1,
    ),
    "lenet5": Experiment(
        "train.py --model lenet5",
        (Metric("test accuracy", "", final_accuracy),),
        picture="error_rate",
        seeds=1,
    ),
    "overfitting": Experiment(
        "train.py --model mlp --hidden 1024 512 --limit 50 --data cifar10 --batch-size 10 --lr 0.1 --epochs 10 "
        "--report-every 5 --measure-training",
        (Metric("first epoch at 100 % training accuracy", "6", first_epoch("train_accuracy", 1.0), is_share=False),),
        picture="accuracy",
        seeds=3,
    ),
    "l2": Experiment(
        "train.py --model mlp --hidden 512 256 --data cifar10 --batch-size 64 --lr 0.1 --epochs 8 --weight-decay 0.001 "
        "--report-every 750",  # once in an epoch
        (
            Metric("first epoch over 50 % validation", "4", first_epoch("validation_accuracy", 0.5), is_share=False),
            Metric("best validation accuracy", "over 50 %", best_validation_accuracy),
            Metric("test accuracy", "", final_accuracy),
        ),
        picture="accuracy",
        seeds=3,
    ),
    "cifar10_cnn": Experiment(
        "train.py --model cifar10_cnn",
        (Metric("test accuracy", "55 % and more", final_accuracy),),
        picture="accuracy",
        seeds=1,
    ),
    "vit_digits": Experiment(
        "train.py --model vit_digits",
        (Metric("test accuracy", "", final_accuracy),),
        picture="accuracy",
        seeds=1,
    ),
    "resnet20": Experiment(
        "train.py --model resnet20 --data cifar10 --epochs 4",
        (Metric("test accuracy", "91.25 % (164 epochs)", final_accuracy),),
        picture="accuracy",
        seeds=1,
    ),
    "mobilenet_v2": Experiment(
        "train.py --model mobilenet_v2 --stem small --data cifar10 --epochs 3 --batch-size 64 --lr 0.05 "
        "--crop-padding 2 --flip",
        (Metric("test accuracy", "", final_accuracy),),
        picture="accuracy",
        seeds=1,
    ),
    "unet": Experiment(
        "train.py --model unet_small",
        (
            Metric("mean IoU of the test pixels", "", mean_iou),
            Metric("test accuracy of the pixels", "", final_accuracy),
        ),
        picture="segmentation",
        seeds=1,
    ),
}


def measure(
    experiment: Experiment, folder: RunFolder, seconds: float, cpu_seconds: float, version: str
) -> dict[str, Any]:
    """What is kept of a run of this version of xpnet."""
    return {
        "metrics": {metric.name: metric.read(folder) for metric in experiment.metrics},
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "version": version,
        "machine": machine(folder),
    }


def machine(folder: RunFolder) -> str:
    """What a run was made on, and what decides how fast NumPy is there."""
    summary = folder.read_summary()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return (
        f"{os.cpu_count()} cores of {processor()}, layers on {summary['backend']} ({summary['device']}), "
        f"Python {platform.python_version()}, NumPy {np.__version__} with {blas['name']} {blas['version']}, "
        f"OPENBLAS_NUM_THREADS {os.environ.get('OPENBLAS_NUM_THREADS', 'not set')}"
    )


def _column(folder: RunFolder, name: str) -> list[float]:
    with folder.history_path.open(newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file)]
