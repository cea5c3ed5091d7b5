"""Four optimizers on the same network and images: cost and accuracy against epochs, and a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from rich.console import Console

from xpnet import datasets
from xpnet.cli import common, tables
from xpnet.experiments import CONTENDERS, PUBLISHED_WITH_BATCH_NORM, Contender
from xpnet.runs import RunConfig
from xpnet.runs.folder import SUMMARY, RunFolder, versions
from xpnet.runs.settings import make_run
from xpnet.training import Callback, History, Record, Trainer
from xpnet.training.progress import record_text

# 100 divides MNIST's 58,000 training images. With 128, each epoch ends on a batch of 16, whose noisy step at these
# learning rates cost gradient descent with batch normalisation up to 9 points right before it was tested.
BATCH_SIZE, REPORT_EVERY = 100, 290


def main(argv: Sequence[str] | None = None, prog: str = "xpnet compare-optimizers") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _compare)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    rates = ", ".join(f"{name} {contender.learning_rate:g}" for name, contender in CONTENDERS.items())
    parser = common.Parser(
        prog=prog,
        description="Train a network with two hidden layers of 100 units on MNIST, with gradient descent, momentum, "
        "AdaGrad and Adam: the same initial weights and the same batches. Print each one's test accuracy beside the "
        "published one, and draw training cost and validation accuracy against epochs. Learning rates, chosen in short "
        f"runs: {rates}. Momentum is a moving average of gradients with μ = 0.9. Batches have {BATCH_SIZE} images.",
        epilog="Exit codes: 0 trained, 1 a loss became infinite or NaN, 2 bad input, 130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "--batch-norm", action="store_true", help="batch normalisation after each hidden layer; default: off"
    )
    parser.add_argument(
        "--epochs", type=int, default=20, metavar="N", help="passes over the training images; default: %(default)s"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of weights, split and batches; default: %(default)s"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder with MNIST's files; default: those bundled with xpnet"
    )
    parser.add_argument(
        "--out", metavar="DIR", help=f"folder for {SUMMARY} and the plots; default: runs/<time>-optimizers"
    )
    common.add_device_arguments(parser)
    return parser


def _compare(flags: argparse.Namespace) -> int:
    console = common.make_console()
    dataset = datasets.load("mnist", flags.data_dir)
    trainers = {name: _config(contender, flags).make_trainer(dataset) for name, contender in CONTENDERS.items()}
    folder = RunFolder.create(flags.out) if flags.out else RunFolder.create_default("optimizers")
    histories = {name: trainer.run([_Printer(console, name)]) for name, trainer in trainers.items()}
    accuracies = {name: trainer.network.evaluate(dataset).score for name, trainer in trainers.items()}
    trainer = trainers["gradient descent"]
    folder.write_json(
        SUMMARY,
        {
            "device": trainer.network.backend.device_name(),
            "backend": trainer.network.backend.name,
            "seed": flags.seed,
            "epochs": flags.epochs,
            "batch_norm": flags.batch_norm,
            "test_accuracy": accuracies,
            "seconds": {name: history[-1].seconds for name, history in histories.items()},
            "versions": versions(trainer.network.backend),
        },
    )
    _draw(folder, histories)
    published = {} if flags.batch_norm else {name: contender.published for name, contender in CONTENDERS.items()}
    tables.print_comparison(console, "optimizer", published, accuracies)
    if flags.batch_norm:
        console.print(f"Published with batch normalisation, of one of them: {PUBLISHED_WITH_BATCH_NORM:.2%}")
    console.print(f"Results are in {folder.path}")
    return common.EXIT_OK


def _config(contender: Contender, flags: argparse.Namespace) -> RunConfig:
    return make_run(
        "mlp",
        hidden=(100, 100),
        batch_norm=flags.batch_norm,
        batch_size=BATCH_SIZE,
        report_every=REPORT_EVERY,
        optimizer=contender.optimizer,
        learning_rate=contender.learning_rate,
        epochs=flags.epochs,
        seed=flags.seed,
        data_dir=flags.data_dir,
        device=flags.device,
        backend=flags.backend,
    )


class _Printer(Callback):
    """Prints each record as it comes."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name

    def on_report(self, trainer: Trainer, record: Record) -> None:
        epoch = record.iteration / trainer.data.batches_per_epoch
        self._console.print(f"{self._name:16}  epoch {epoch:5.2f}  {record_text(record)}")


def _draw(folder: RunFolder, histories: Mapping[str, History]) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    columns = {name: history.to_dict() for name, history in histories.items()}
    batches_per_epoch = next(iter(histories.values())).batches_per_epoch or 1
    plots.save(plots.cost_comparison(columns, batches_per_epoch), folder.plots_path / "cost.png")
    plots.save(plots.accuracy_comparison(columns, batches_per_epoch), folder.plots_path / "accuracy.png")
