"""The gradient check of every layer, the loss and a whole network, as tables."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from xpnet import backend as backends
from xpnet import models
from xpnet.cli import common
from xpnet.gradcheck import STEP, TOLERANCE, Entry, check_layer, check_loss, check_network, separated_values
from xpnet.layers.examples import EXAMPLES
from xpnet.losses import (
    BinaryCrossEntropy,
    Focal,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from xpnet.random import generator
from xpnet.summary import shape_text

# Each with weights for its examples; without, the network's loss is checked.
LOSSES: tuple[Loss, ...] = (
    SoftmaxCrossEntropy(),
    SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5, 3.0, 1.5)),
    BinaryCrossEntropy(),
    Focal(),
    Focal(gamma=0.5, class_weights=(1.0, 2.0, 0.5, 3.0, 1.5)),
    MeanSquaredError(),
    MeanAbsoluteError(),
    Huber(delta=0.5),
)
MODEL, IMAGE_SHAPE = "mnist_starter", (8, 8, 1)
TABLE_WIDTH = 80  # what the tables need: rich would cut them off to fit a narrower terminal


def main(argv: Sequence[str] | None = None, prog: str = "xpnet gradcheck") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _gradcheck)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        description="Check that the library computes gradients correctly. Every layer has a hand-written backward "
        "pass. This program moves one number at a time (of the input or of a parameter) slightly up and down, measures "
        "how much the output changes (the finite difference), and compares that with the gradient from backward.",
        epilog=f"Exit codes: 0 all relative differences are at most {TOLERANCE:g}, 1 some are larger, 2 bad input.",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers; default: 0")
    parser.add_argument(
        "--entries", type=int, default=5, metavar="N", help="how many entries of each tensor to check; default: 5"
    )
    common.add_device_arguments(parser)
    return parser


def _gradcheck(flags: argparse.Namespace) -> int:
    where = {"device": flags.device or "cpu", "backend": flags.backend}
    library = backends.resolve(**where).describe()
    console = common.make_console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"Gradients in float64 with {library}, step {STEP:g}, seed {flags.seed}")
    differences, wrong = [], []
    for title, checked in _checks({"entries": flags.entries, "seed": flags.seed}, where):
        console.print(f"\n{title}", style="bold")
        console.print(_table(checked))
        differences += [entry.relative_difference for entry in checked]
        wrong += [f"{entry.name} in {title}" for entry in checked if not _right(entry)]
    console.print()
    for tensor in dict.fromkeys(wrong):
        console.print(f"Wrong gradient: {tensor}", style="red")
    verdict = Text("FAILED", "bold red") if wrong else Text("OK", "bold green")
    # np.max and not max, which may lose a NaN.
    console.print(f"Largest relative difference {np.max(differences):.1e}, tolerance {TOLERANCE:g}:", verdict)
    return common.EXIT_FAILED if wrong else common.EXIT_OK


def _checks(amount: dict[str, int], where: dict[str, Any]) -> Iterator[tuple[str, list[Entry]]]:
    """What is checked, and the result."""
    for example in EXAMPLES:
        yield f"{example}, input {shape_text(example.input_shape)}", check_layer(*example, **amount, **where)
    rng = generator(amount["seed"])
    outputs, weights = separated_values(rng, (4, 5)), rng.uniform(0.5, 2.0, 4)
    targets = {
        "classes": rng.integers(0, 5, 4),
        "binary": rng.integers(0, 2, (4, 5)),
        "real": rng.uniform(-1.0, 1.0, (4, 5)),
    }
    for loss in LOSSES:
        yield f"{loss}, outputs 4 x 5", check_loss(loss, outputs, targets[loss.target], weights, **amount, **where)
    network = models.create(MODEL, input_shape=IMAGE_SHAPE, seed=amount["seed"], dtype="float64", **where)
    images, labels = separated_values(rng, (2, *IMAGE_SHAPE)), rng.integers(0, 10, 2)
    yield f"Network {MODEL}, input {shape_text(IMAGE_SHAPE)}", check_network(network, images, labels, **amount)


def _table(entries: list[Entry]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("index", no_wrap=True)
    for header in ("finite difference", "backward", "relative difference"):
        table.add_column(header, justify="right", no_wrap=True)
    for _, tensor in groupby(entries, key=lambda entry: entry.name):
        for entry in tensor:
            table.add_row(
                f"{entry.name}[{','.join(map(str, entry.index))}]",
                _number(entry.finite_difference),
                _number(entry.backward),
                f"{entry.relative_difference:.1e}",
                style=None if _right(entry) else "red",
            )
        table.add_section()
    return table


def _number(value: float) -> str:
    return f"{value:.7e}" if value else "0"


def _right(entry: Entry) -> bool:
    return entry.relative_difference <= TOLERANCE  # false for NaN
