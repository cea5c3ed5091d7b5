"""Four optimizers on the same network and images: cost and accuracy against epochs, and a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from xpnet import datasets, runtime
from xpnet.cli import common, report
from xpnet.experiments import CONTENDERS, PUBLISHED_WITH_BATCH_NORM, Contender
from xpnet.training import Record, TrainConfig, Trainer
from xpnet.training.history import columns
from xpnet.training.run_folder import SUMMARY, RunFolder, versions

# 100 divides MNIST's 58,000 training images. With 128, each epoch ends on a batch of 16, whose noisy step at these
# learning rates cost gradient descent with batch normalisation up to 9 points right before it was tested.
BATCH_SIZE, REPORT_EVERY = 100, 290


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _compare(**vars(_parser().parse_args(argv))))


def _parser() -> argparse.ArgumentParser:
    rates = ", ".join(f"{name} {contender.learning_rate:g}" for name, contender in CONTENDERS.items())
    parser = common.Parser(
        prog="compare_optimizers.py",
        description="Train a network with two hidden layers of 100 units on MNIST, with gradient descent, momentum, "
        "AdaGrad and Adam: the same initial weights and the same batches. Print each one's test accuracy beside the "
        "published one, and draw training cost and validation accuracy against epochs. Learning rates, found by short "
        f"tries: {rates}. Momentum is a moving average of gradients with μ = 0.9. Batches have {BATCH_SIZE} images.",
        epilog="Exit codes: 0 trained, 1 a loss became infinite or NaN, 2 bad input, 130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "--batch-norm", action="store_true", help="with batch normalisation after each hidden layer; default: without"
    )
    parser.add_argument(
        "--epochs", type=int, default=20, metavar="N", help="passes over the training images; default: %(default)s"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of weights, split and batches; default: %(default)s"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder with MNIST's files; default: those that come with xpnet"
    )
    parser.add_argument(
        "--out", metavar="DIR", help=f"folder for {SUMMARY} and the plots; default: runs/<time>-optimizers"
    )
    common.add_device_arguments(parser)
    return parser


def _compare(out: str | None, batch_norm: bool, **settings: Any) -> int:
    runtime.configure()
    console = common.make_console()
    dataset = datasets.load("mnist", settings["data_dir"])
    trainers = {
        name: Trainer(_config(contender, batch_norm, settings), dataset) for name, contender in CONTENDERS.items()
    }
    folder = RunFolder.create(out) if out else RunFolder.create_default("optimizers")
    records = {name: _train(console, name, trainer) for name, trainer in trainers.items()}
    accuracies = {name: trainer.test().accuracy for name, trainer in trainers.items()}
    trainer = trainers["gradient descent"]
    folder.write_json(
        SUMMARY,
        {
            "device": trainer.network.backend.device_name(),
            "backend": trainer.network.backend.name,
            "seed": settings["seed"],
            "epochs": settings["epochs"],
            "batch_norm": batch_norm,
            "test_accuracy": accuracies,
            "seconds": {name: history[-1].seconds for name, history in records.items()},
            "versions": versions(trainer.network.backend),
        },
    )
    _draw(folder, records, trainer.sampler.batches_per_epoch)
    published = {} if batch_norm else {name: contender.published for name, contender in CONTENDERS.items()}
    report.print_comparison(console, "optimizer", published, accuracies)
    if batch_norm:
        console.print(f"Published with batch normalisation, of one of them: {PUBLISHED_WITH_BATCH_NORM:.2%}")
    console.print(f"Results are in {folder.path}")
    return common.EXIT_OK


def _config(contender: Contender, batch_norm: bool, settings: Mapping[str, Any]) -> TrainConfig:
    return TrainConfig.for_model(
        "mlp",
        model_options={"hidden": [100, 100], "batch_norm": batch_norm},
        batch_size=BATCH_SIZE,
        report_every=REPORT_EVERY,
        optimizer=contender.optimizer,
        learning_rate=contender.learning_rate,
        **settings,
    )


def _train(console: Console, name: str, trainer: Trainer) -> list[Record]:
    """Train, printing each record as it comes."""
    records = []
    for record in trainer.run():
        records.append(record)
        epoch = record.iteration / trainer.sampler.batches_per_epoch
        console.print(f"{name:16}  epoch {epoch:5.2f}  {report.record_text(record)}")
    return records


def _draw(folder: RunFolder, records: Mapping[str, list[Record]], batches_per_epoch: int) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    histories = {name: columns(history) for name, history in records.items()}
    plots.save(plots.cost_comparison(histories, batches_per_epoch), folder.plots_path / "cost.png")
    plots.save(plots.accuracy_comparison(histories, batches_per_epoch), folder.plots_path / "accuracy.png")
