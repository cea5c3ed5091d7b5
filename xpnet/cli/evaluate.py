"""Test a trained network again, on the same or another device or data set."""

from __future__ import annotations

import argparse
import dataclasses
import math

from xpnet import datasets, runtime
from xpnet.cli import common, report
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.training import Evaluator
from xpnet.training.run_folder import EVALUATION, RunFolder, versions


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _evaluate(**vars(_parser().parse_args(argv))))


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="evaluate.py",
        description="Test the network of a run folder that train.py wrote: print accuracy, loss, confusion matrix, "
        f"precision and recall, and write them to {EVALUATION} in the folder.",
        epilog="Exit codes: 0 tested, 2 bad input.",
    )
    parser.add_argument(
        "run", metavar="RUN", help="folder that train.py wrote, such as runs/20260131-120000-mnist_starter"
    )
    parser.add_argument(
        "--data", help=f"{', '.join(datasets.names())}; default: the data set the network was trained on"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files; default: as in training")
    common.add_device_arguments(parser)
    return parser


def _evaluate(run: str, data: str | None, data_dir: str | None, device: str | None, backend: str | None) -> int:
    runtime.configure()
    console = common.make_console()
    folder = RunFolder.open(run)
    config = folder.read_config()
    if data is not None:
        config = dataclasses.replace(config, data=data, data_dir=data_dir)
    network = Network.load(folder.weights_path, device=device or "cpu", backend=backend)
    image_size = network.input_shape[:2] if config.data == "folder" else None
    dataset = datasets.load(config.data, data_dir or config.data_dir, image_size)
    if (dataset.input_shape, (dataset.classes,)) != (network.input_shape, network.output_shape):
        raise InputError(
            f"Run folder {run}: expected images {network.input_shape} of {network.output_shape[0]} classes, "
            f"got {dataset.input_shape} of {dataset.classes} in {dataset.name}. Choose other data."
        )
    console.print(
        f"{config.model} of {folder.path} on {dataset.name}, {network.backend.describe()}: "
        f"{len(dataset.test_targets):,} test images"
    )
    evaluation = Evaluator(network)(network.theta, network.state, dataset.test_inputs, dataset.test_targets)
    if not math.isfinite(evaluation.loss):
        raise InputError(
            f"{folder.weights_path}: expected weights that give a finite loss, got {evaluation.loss}. "
            "Use weights from before the run diverged."
        )
    report.print_evaluation(console, evaluation, dataset.class_names)
    folder.write_json(
        EVALUATION,
        {
            "model": config.model,
            "data": config.data,
            "data_dir": data_dir or config.data_dir,
            "device": network.backend.device_name(),
            "backend": network.backend.name,
            **evaluation.to_dict(),
            "versions": versions(network.backend),
        },
    )
    return common.EXIT_OK
