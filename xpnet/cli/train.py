"""Train a network and leave a folder with its settings, history, weights, test result and plots."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, cast

import numpy as np
from rich.console import Console

from xpnet import runtime
from xpnet.backend import to_numpy
from xpnet.cli import common, following, report
from xpnet.cli.train_flags import DEFAULT_MODEL, make_parser, settings_of
from xpnet.datasets import Dataset
from xpnet.files import holding
from xpnet.runs import RunConfig
from xpnet.runs.checkpoint import CheckpointPlan, CheckpointWriter, load_newest, resume, resumed_config
from xpnet.runs.folder import SUMMARY, TENSORBOARD, RunFolder, versions
from xpnet.runs.lock import only_user
from xpnet.runs.records import HistoryFile, MetricsFile, cut_back
from xpnet.runs.settings import make_run
from xpnet.runs.tensorboard import TensorBoardFile, find_library
from xpnet.training import Callback, Evaluation, Trainer
from xpnet.training.divergence import check_finite
from xpnet.training.progress import ProgressBar

_PLAN = {"checkpoint_every": "every", "checkpoint_minutes": "minutes", "keep": "keep"}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet train") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _train)


def _train(flags: argparse.Namespace) -> int:
    console = common.make_console(flags.quiet)
    plan = CheckpointPlan(**common.given(flags, _PLAN))
    tensorboard = find_library() if flags.tensorboard else None
    logging = following.logging_to(flags.log_file, flags.log_level, make_parser("train").spellings())
    with logging, ExitStack() as stack:
        begin = _resume if flags.resume else _begin
        trainer, dataset, config, folder = begin(flags, console, stack)
        stack.enter_context(holding(folder.checkpoints_path))
        _print_start(console, trainer, dataset, config)

        history = stack.enter_context(closing(HistoryFile(folder.history_path, trainer.history.metric)))
        callbacks: list[Callback] = [history, stack.enter_context(closing(MetricsFile(folder.metrics_path)))]
        if tensorboard:
            file = TensorBoardFile(tensorboard, folder.path / TENSORBOARD, trainer.progress.reported)
            callbacks.append(stack.enter_context(closing(file)))
        checkpoints = CheckpointWriter(folder, config, history, plan)
        bar = stack.enter_context(closing(ProgressBar(console)))
        stop_signals = following.StopSignals(console, checkpoints)
        with stop_signals.listening():
            trainer.run(
                [*callbacks, checkpoints, following.RecordLog(), bar, stop_signals],
                detect_nonfinite=flags.detect_nonfinite,
            )
            stop_signals.check(trainer)  # for one that came in the last write
        cut_short = stop_signals.signal is not None and not trainer.is_over
        _finish(console, trainer, dataset, config, folder, interrupted=cut_short, plots=not flags.no_plots)
    return common.EXIT_OK if stop_signals.signal is None else common.EXIT_INTERRUPTED


_Begun = tuple[Trainer, Dataset, RunConfig, RunFolder]


def _begin(flags: argparse.Namespace, console: Console, stack: ExitStack) -> _Begun:
    """A new run in a new folder."""
    config = make_run(**{"model": DEFAULT_MODEL, "threads": runtime.cores(), **settings_of(flags)})
    dataset = config.load_data()
    trainer = config.make_trainer(dataset)
    folder = RunFolder.create(flags.out) if flags.out else RunFolder.create_default(config.model)
    stack.enter_context(only_user(folder.path))
    folder.make_checkpoints()  # before the settings: a run that is resumed without it has lost something
    backend = trainer.network.backend  # with --device auto, what was found
    place = replace(config.runtime, device=backend.device_name(), backend=backend.name)
    config = replace(config, runtime=place)
    folder.write_config(config)
    return trainer, dataset, config, folder


def _resume(flags: argparse.Namespace, console: Console, stack: ExitStack) -> _Begun:
    """A run as its newest checkpoint has it, with the records up to there."""
    folder = RunFolder.open_begun(flags.resume)
    stack.enter_context(only_user(folder.path))
    newest = load_newest(folder)
    config = resumed_config(folder.read_config(), settings_of(flags))
    # A checkpoint has all values: those to start from need not be there any more.
    fresh = replace(config, weights=None, replace_head=False) if newest else config
    dataset = fresh.load_data()
    trainer = fresh.make_trainer(dataset)
    if newest:
        for error in newest.unreadable:
            following.note(console, f"{error} The one before it is used.")
        differences = resume(trainer, config, newest.path, newest.checkpoint)
        following.note(console, f"Resumed after iteration {trainer.iteration:,} from {newest.path}")
        if differences:
            following.note(
                console, f"Results will equal an uninterrupted run's within rounding only: {', '.join(differences)}."
            )
    else:
        following.note(console, f"Run folder {folder.path} has no checkpoint yet: starting at the beginning.")
    trainer.history.records += cut_back(folder.history_path, trainer.progress.reported, trainer.report_every)
    folder.write_config(config)
    return trainer, dataset, config, folder


def _finish(
    console: Console,
    trainer: Trainer,
    dataset: Dataset,
    config: RunConfig,
    folder: RunFolder,
    *,
    interrupted: bool,
    plots: bool,
) -> None:
    """Write and show what came out of it."""
    class_names = dataset.class_names or ()
    if trainer.best:
        kept = trainer.best.record
        score = "" if kept.validation_score is None else f"validation accuracy: {kept.validation_score:.2%} "
        console.print(f"Best {score}in iteration {kept.iteration}; kept.")
    trainer.network.save(folder.weights_path)
    folder.write_class_names(class_names)
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is refused
        evaluation = cast(Evaluation, trainer.network.evaluate(dataset))  # data sets that have a name have classes
    check_finite(config.train, "loss on the test images", evaluation.loss, trainer.iteration)
    folder.write_json(SUMMARY, _summary(trainer, config, evaluation, interrupted))
    report.print_evaluation(console, evaluation, class_names, of_pixels=bool(dataset.target_shape))
    if plots:
        _draw(folder, trainer, dataset, evaluation)
    following.note(
        console, f"{trainer.progress.examples_per_second:,.0f} training images per second. Results are in {folder.path}"
    )


def _print_start(console: Console, trainer: Trainer, dataset: Dataset, config: RunConfig) -> None:
    console.print(
        f"{config.model} on {dataset.name}, {trainer.network.backend.describe()}: {trainer.data.count:,} "
        f"training images, {trainer.iterations:,} iterations of {trainer.config.batch_size} images"
    )
    report.print_layers(console, trainer.network)


def _summary(trainer: Trainer, config: RunConfig, evaluation: Evaluation, interrupted: bool) -> dict[str, Any]:
    last = trainer.history[-1]
    kept = trainer.best.record if trainer.best else last
    return {
        "model": config.model,
        "data": config.data,
        "device": trainer.network.backend.device_name(),
        "backend": trainer.network.backend.name,
        "seed": trainer.config.seed,
        "parameters": trainer.network.parameter_count,
        "iterations": last.iteration,
        "batch_size": trainer.config.batch_size,
        "interrupted": interrupted,
        "weights_of_iteration": kept.iteration,
        "loss": kept.loss,
        "weight_decay_loss": kept.weight_decay_loss,
        "train_accuracy": kept.train_score,
        "validation_accuracy": kept.validation_score,
        **evaluation.to_dict(),
        "seconds": last.seconds,
        "images_per_second": trainer.progress.examples_per_second,
        "versions": versions(trainer.network.backend),
    }


def _draw(folder: RunFolder, trainer: Trainer, dataset: Dataset, evaluation: Evaluation) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    class_names, history = dataset.class_names or (), trainer.history.to_dict()
    batches_per_epoch = trainer.data.batches_per_epoch
    unit = batches_per_epoch if trainer.config.epochs else None  # the run's length is given in epochs or iterations
    figures = {
        "loss": plots.loss_curves(history, unit),
        "accuracy": plots.accuracy_curves(history, not trainer.config.measure_training, unit),
        "error_rate": plots.error_rate_curves(history, batches_per_epoch),
        "confusion_matrix": plots.confusion_matrix(evaluation.confusion, class_names),
    }
    predictions, images, targets = evaluation.probabilities.argmax(axis=1), dataset.test_inputs, dataset.test_targets
    if targets.ndim > 1:
        pixels = predictions.reshape(targets.shape)
        figures["segmentation"] = plots.segmentation(images, targets, pixels, class_names)
    else:
        probabilities = evaluation.probabilities
        figures["misclassified"] = plots.misclassified(images, targets, predictions, class_names, probabilities)
    filters = [weight for weight in trainer.network.parameters().values() if weight.ndim == 4]
    if filters:
        figures["filters"] = plots.filters(to_numpy(filters[0]))
    for name, figure in figures.items():
        plots.save(figure, folder.plots_path / f"{name}.png")
