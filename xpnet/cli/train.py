"""Train a network and leave a folder with its settings, history, weights, test result, plots and a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, cast

import numpy as np
from rich.console import Console

from xpnet.cli import common, following, tables
from xpnet.cli.ranks import CheckpointPartner, ending_all, engine_of, join
from xpnet.cli.train_flags import DEFAULT_MODEL, command_text, make_parser, settings_of
from xpnet.cli.wording import in_flags
from xpnet.datasets import Dataset
from xpnet.errors import TrainingDivergedError
from xpnet.files import holding
from xpnet.parallel import Group, connect
from xpnet.parallel.agreement import together
from xpnet.provenance import versions
from xpnet.report.findings import Findings
from xpnet.report.run import State, read_run
from xpnet.report.start import start_of
from xpnet.runs import RunConfig
from xpnet.runs.checkpoint import CheckpointPlan, CheckpointWriter, load_newest, resume, resumed_config
from xpnet.runs.folder import START, SUMMARY, TENSORBOARD, RunFolder
from xpnet.runs.lock import only_user
from xpnet.runs.records import HistoryFile, MetricsFile, cut_back
from xpnet.runs.settings import make_run
from xpnet.runs.tensorboard import TensorBoardFile, find_library
from xpnet.runtime import threads_in_use
from xpnet.training import Callback, Evaluation, Trainer
from xpnet.training.divergence import check_finite
from xpnet.training.fit import evaluate
from xpnet.training.progress import ProgressBar

_PLAN = {"checkpoint_every": "every", "checkpoint_minutes": "minutes", "keep": "keep"}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet train") -> int:
    """Run the program and return its exit code."""
    parser = make_parser(prog)
    join(parser, argv)
    return common.run(parser, argv, _train)


def _train(flags: argparse.Namespace) -> int:
    group = connect(engine_of(flags))
    is_first = group.rank == 0
    console = common.make_console(flags.quiet or not is_first)
    plan = CheckpointPlan(**common.given(flags, _PLAN))
    tensorboard = find_library() if flags.tensorboard and is_first else None
    spellings = make_parser("train").spellings()
    who = "" if is_first else f"rank {group.rank}: "
    log = (flags.log_file, flags.log_level) if is_first else (None, None)
    logging = following.logging_to(*log, spellings, who)
    with ending_all(group, spellings), logging, ExitStack() as stack:
        begin = _resume if flags.resume else _begin
        trainer, dataset, config, folder = begin(flags, console, stack, group)
        if folder:
            stack.enter_context(holding(folder.checkpoints_path))
            _write_start(folder, trainer)
        _print_start(console, trainer, dataset, config)

        callbacks: list[Callback] = []
        checkpoints = CheckpointPartner()
        if folder:
            history = stack.enter_context(closing(HistoryFile(folder.history_path, trainer.history.metric)))
            callbacks += [history, stack.enter_context(closing(MetricsFile(folder.metrics_path)))]
            checkpoints = CheckpointWriter(folder, config, history, plan)
            if tensorboard:
                file = TensorBoardFile(tensorboard, folder.path / TENSORBOARD, trainer.progress.reported)
                callbacks.append(stack.enter_context(closing(file)))
        bar = stack.enter_context(closing(ProgressBar(console)))
        stop_signals = following.StopSignals(console, checkpoints)
        callbacks += [checkpoints, following.RecordLog(), bar, stop_signals]
        try:
            with stop_signals.listening():
                trainer.run(callbacks, detect_nonfinite=flags.detect_nonfinite)
                stop_signals.check(trainer)  # for one that came in the last write
            cut_short = stop_signals.signal is not None and not trainer.is_over
            if folder:
                _keep(console, trainer, dataset, folder)
            evaluation = _test(trainer, dataset, config)
        except (SystemExit, TrainingDivergedError) as end:  # which all ranks raise
            if folder and not flags.no_plots:
                _report_stopped(folder, config, "" if isinstance(end, SystemExit) else in_flags(str(end), spellings))
            group.barrier()  # a launcher may end the first rank as soon as another one has ended
            raise
        if folder:
            _finish(
                console, trainer, dataset, config, folder, evaluation, cut_short=cut_short, plots=not flags.no_plots
            )
    return common.EXIT_OK if stop_signals.signal is None else common.EXIT_INTERRUPTED


_Begun = tuple[Trainer, Dataset, RunConfig, RunFolder | None]  # the folder is the first rank's


def _begin(flags: argparse.Namespace, console: Console, stack: ExitStack, group: Group) -> _Begun:
    """A new run in a new folder."""
    with together(group):
        config = make_run(**{"model": DEFAULT_MODEL, **settings_of(flags)})
        dataset = config.load_data()
    trainer = config.make_trainer(dataset)
    backend = trainer.network.backend  # with --device auto, what was found
    device = backend.device_name() if group.size == 1 else backend.device_name().partition(":")[0]
    place = {"device": device, "backend": backend.name, "threads": threads_in_use(backend)}
    config = replace(config, runtime=replace(config.runtime.alone, **place))
    folder = None
    with together(group):
        if group.rank == 0:
            folder = RunFolder.create(flags.out) if flags.out else RunFolder.create_default(config.model)
            stack.enter_context(only_user(folder.path))
            folder.make_checkpoints()  # before the settings: a run that is resumed without it has lost something
            folder.write_config(config, versions(trainer.network.backend))
    return trainer, dataset, config, folder


def _resume(flags: argparse.Namespace, console: Console, stack: ExitStack, group: Group) -> _Begun:
    """A run as its newest checkpoint has it, with the records up to there; all ranks read it."""
    with together(group):
        folder = RunFolder.open_begun(flags.resume)
        if group.rank == 0:
            stack.enter_context(only_user(folder.path))
    with together(group):
        newest = load_newest(folder)
        config = resumed_config(folder.read_config(), settings_of(flags))
        # A checkpoint has all values: those to start from need not be there any more.
        fresh = replace(config, weights=None, replace_head=False) if newest else config
        dataset = fresh.load_data()
    trainer = fresh.make_trainer(dataset)
    config = replace(config, runtime=config.runtime.alone)
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
    with together(group):
        if group.rank == 0:
            trainer.history.records += cut_back(folder.history_path, trainer.progress.reported, trainer.report_every)
            folder.write_config(config, versions(trainer.network.backend))
    return trainer, dataset, config, folder if group.rank == 0 else None


def _keep(console: Console, trainer: Trainer, dataset: Dataset, folder: RunFolder) -> None:
    """Write the weights, whatever the test says about them."""
    if trainer.best:
        kept = trainer.best.record
        score = "" if kept.validation_score is None else f"validation accuracy: {kept.validation_score:.2%} "
        console.print(f"Best {score}in iteration {kept.iteration}; kept.")
    trainer.network.save(folder.weights_path)
    folder.write_class_names(dataset.class_names or ())


def _test(trainer: Trainer, dataset: Dataset, config: RunConfig) -> Evaluation:
    """The network on the test images, by all ranks together."""
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is refused
        result = evaluate(trainer.network, dataset, None, trainer.group)
    evaluation = cast(Evaluation, result)  # data sets that have a name have classes
    check_finite(config.train, "loss on the test images", evaluation.loss, trainer.iteration)
    return evaluation


def _finish(
    console: Console,
    trainer: Trainer,
    dataset: Dataset,
    config: RunConfig,
    folder: RunFolder,
    evaluation: Evaluation,
    *,
    cut_short: bool,
    plots: bool,
) -> None:
    """Write and show what came out of it."""
    class_names = dataset.class_names or ()
    folder.write_json(SUMMARY, _summary(trainer, config, evaluation, cut_short))
    tables.print_evaluation(console, evaluation, class_names, of_pixels=bool(dataset.target_shape))
    if plots:
        findings = Findings(trainer.network, dataset, evaluation)
        _draw(folder, trainer, findings)
        _report(folder, config, State.INTERRUPTED if cut_short else State.FINISHED, findings=findings)
    following.note(
        console, f"{trainer.progress.examples_per_second:,.0f} training images per second. Results are in {folder.path}"
    )


def _write_start(folder: RunFolder, trainer: Trainer) -> None:
    folder.write_json(START, start_of(trainer).to_json())


def _print_start(console: Console, trainer: Trainer, dataset: Dataset, config: RunConfig) -> None:
    ranks = f" by {trainer.group.size} ranks" if trainer.group.size > 1 else ""
    console.print(
        f"{config.model} on {dataset.name}, {trainer.network.backend.describe()}{ranks}: {trainer.data.count:,} "
        f"training images, {trainer.iterations:,} iterations of {trainer.config.batch_size} images"
    )
    tables.print_layers(console, trainer.network)


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
        "ranks": trainer.group.size,
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


def _report(
    folder: RunFolder, config: RunConfig, state: State, *, problem: str = "", findings: Findings | None = None
) -> None:
    from xpnet.report import page  # here: matplotlib takes a second to import
    from xpnet.report.view import RunView

    run = read_run(folder, state)
    run.problems.extend([problem] if problem else [])
    page.write(folder, [RunView(run, command_text(config), run.name, findings)])


def _report_stopped(folder: RunFolder, config: RunConfig, problem: str) -> None:
    """Write the report of a run that has no test; if that fails, the run still ends as it would."""
    try:
        _report(folder, config, State.STOPPED, problem=problem)
    except Exception as error:
        common.warn(f"{' '.join(str(error).split())} The run has no report.")


def _draw(folder: RunFolder, trainer: Trainer, findings: Findings) -> None:
    from xpnet import plots  # here, as above

    history, batches_per_epoch = trainer.history.to_dict(), trainer.data.batches_per_epoch
    unit = batches_per_epoch if trainer.config.epochs else None  # the run's length is given in epochs or iterations
    figures = {
        "loss": plots.loss_curves(history, unit),
        "accuracy": plots.accuracy_curves(history, not trainer.config.measure_training, unit),
        "error_rate": plots.error_rate_curves(history, batches_per_epoch),
        "confusion_matrix": plots.confusion_matrix(findings.evaluation.confusion, findings.class_names),
    }
    if findings.mistakes is not None:
        figures["misclassified"] = plots.misclassified(**findings.mistakes)
    if findings.pixels is not None:
        figures["segmentation"] = plots.segmentation(**findings.pixels)
    if findings.filters is not None:
        figures["filters"] = plots.filters(findings.filters)
    for name, figure in figures.items():
        plots.save(figure, folder.plots_path / f"{name}.png")
