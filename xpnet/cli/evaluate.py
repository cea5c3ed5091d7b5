"""Test a trained network again, on the same or another device or data set."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from xpnet import datasets
from xpnet.cli import common, tables
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.provenance import versions
from xpnet.runs.folder import EVALUATION, RunFolder
from xpnet.runtime import Runtime
from xpnet.training import Evaluation, Evaluator


def main(argv: Sequence[str] | None = None, prog: str = "xpnet evaluate") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _evaluate)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s RUN [options]",
        description="Test the network of a run's folder: print accuracy, loss, confusion matrix, precision and recall, "
        f"and write them to {EVALUATION} in the folder.",
        epilog="Exit codes: 0 tested, 2 bad input.",
    )
    parser.add_argument(
        "run", metavar="RUN", help="folder that training wrote, such as runs/20260131-120000-mnist_starter"
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help=f"{common.listed(datasets.names())}; default: the data set that the network was trained on",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data; default: as in training")
    common.add_device_arguments(parser)
    return parser


def _evaluate(flags: argparse.Namespace) -> int:
    Runtime().configure()
    console = common.make_console()
    folder = RunFolder.open(flags.run)
    config = folder.read_config()
    if flags.data is not None:
        config = dataclasses.replace(config, data=flags.data, data_dir=None, image_size=None)
    if flags.data_dir is not None:
        config = dataclasses.replace(config, data_dir=flags.data_dir)
    network = Network.load(folder.weights_path, device=flags.device or "cpu", backend=flags.backend)
    if config.data == "folder":
        config = dataclasses.replace(config, image_size=network.input_shape[:2])
    dataset = config.load_data()
    if (dataset.input_shape, (*dataset.target_shape, dataset.classes)) != (network.input_shape, network.output_shape):
        raise InputError(
            f"Run folder {flags.run}: expected images {network.input_shape} of {network.output_shape[-1]} classes, "
            f"got {dataset.input_shape} of {dataset.classes} in {dataset.name}. Choose other data."
        )
    console.print(
        f"{config.model} of {folder.path} on {dataset.name}, {network.backend.describe()}: "
        f"{len(dataset.test_targets):,} test images"
    )
    evaluate = Evaluator(network)
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is refused
        evaluation = evaluate(network.theta, network.state, dataset.test_inputs, dataset.test_targets)
    evaluation = cast(Evaluation, evaluation)  # data sets that have a name have classes
    if not math.isfinite(evaluation.loss):
        raise InputError(
            f"{folder.weights_path}: expected weights that give a finite loss, got {evaluation.loss}. "
            "Use weights from before the run diverged."
        )
    tables.print_evaluation(console, evaluation, dataset.class_names or (), of_pixels=bool(dataset.target_shape))
    content = {
        "model": config.model,
        "data": config.data,
        "data_dir": config.data_dir,
        "device": network.backend.device_name(),
        "backend": network.backend.name,
        **evaluation.to_dict(),
        "versions": versions(network.backend),
    }
    try:
        folder.write_json(EVALUATION, content)
    except InputError as error:  # of a folder that is not ours to change; what was asked for has been printed
        common.warn(str(error))
    return common.EXIT_OK
