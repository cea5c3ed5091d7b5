"""Train a network and leave a folder with its settings, history, weights, test result and plots."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xpnet import datasets, models
from xpnet.backend import to_numpy
from xpnet.cli import common, report
from xpnet.losses import LOSSES
from xpnet.models import mlp, resnet
from xpnet.network import DTYPES
from xpnet.optimizers import MOMENTUM_FORMS, OPTIMIZERS, AdaGrad, Adam, Momentum
from xpnet.schedules import SCHEDULES
from xpnet.training import Evaluation, Record, TrainConfig, Trainer
from xpnet.training.history import HistoryFile, columns
from xpnet.training.run_folder import SUMMARY, RunFolder, versions

_DEFAULT_MODEL = "mnist_starter"
_MODEL_OPTIONS = ("hidden", "activation", "dropout", "batch_norm", "weight_init", "stem")


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _train(**vars(_parser().parse_args(argv))))


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="train.py",
        description="Train a network. Without any flag: the MNIST starter network on the bundled digits, on the CPU, "
        "in less than half a minute. Every flag's default is what the model was published with.",
        epilog="Exit codes: 0 trained, 1 the loss became infinite or NaN, 2 bad input, 130 stopped by Ctrl-C.",
    )
    what = parser.add_argument_group("what to train, and on which images")
    what.add_argument("--model", default=_DEFAULT_MODEL, help=f"{', '.join(models.names())}; default: %(default)s")
    what.add_argument("--data", help=f"{', '.join(datasets.names())}; default: the model's own")
    what.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder with the data set's files; default: those that come with xpnet or are downloaded",
    )
    what.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="with --data folder: scale and crop images to this height and width; default: the size they all have",
    )
    what.add_argument("--limit", type=int, metavar="N", help="train on N images only; default: the model's own number")
    start = parser.add_argument_group("what to begin with")
    start.add_argument(
        "--weights",
        metavar="FILE",
        help="begin with these weights: a run's folder, a file that xpnet saved, or one of torchvision's for this "
        "model (.pth, or .safetensors with torchvision's names); default: new random ones",
    )
    start.add_argument(
        "--replace-head",
        action="store_true",
        default=None,
        help="with --weights: but begin with a new last layer, for other classes than the file's",
    )
    start.add_argument(
        "--freeze",
        nargs="+",
        metavar="PATTERN",
        help="keep parameters as they are whose names match, such as conv1.weight or 'features.*'; default: none",
    )
    options = parser.add_argument_group("model options", "of the models that have them; default: the model's own")
    options.add_argument("--hidden", type=int, nargs="+", metavar="N", help="units of each hidden layer (mlp)")
    options.add_argument("--activation", choices=mlp.ACTIVATIONS, help="after each hidden layer (mlp)")
    options.add_argument("--dropout", type=float, metavar="P", help="probability of dropping (mlp, fer_cnn, alexnet)")
    options.add_argument("--batch-norm", action="store_true", default=None, help="batch normalisation (mlp)")
    options.add_argument(
        "--weight-init",
        choices=mlp.WEIGHT_INITS,
        help="standard deviation of initial weights: he √(2/n_in), glorot √(2/(n_in + n_out)), lecun √(1/n_in), "
        "normal 1 (mlp)",
    )
    options.add_argument("--stem", choices=resnet.STEMS, help="small: for images of about 32x32 pixels (resnets)")
    where = parser.add_argument_group("where")
    common.add_device_arguments(where)
    where.add_argument("--dtype", choices=DTYPES, help="precision; default: float32")
    how = parser.add_argument_group("how long, and in what order")
    length = how.add_mutually_exclusive_group()
    length.add_argument("--iterations", type=int, metavar="N", help=f"batches to train on; {_own('iterations')}")
    length.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the training images, in place of --iterations"
    )
    how.add_argument("--batch-size", type=int, metavar="N", help=f"images in a batch; {_own('batch_size')}")
    how.add_argument(
        "--early-stopping",
        type=int,
        metavar="PATIENCE",
        help="stop when so many reports in a row (see --report-every) "
        "show no better validation accuracy, and keep the weights of the best",
    )
    how.add_argument("--loss", choices=LOSSES, help="default: cross-entropy (of a softmax)")
    how.add_argument("--label-smoothing", type=float, metavar="S", help="share of the target given to all classes")
    how.add_argument("--crop-padding", type=int, metavar="P", help="random crops of images extended by P black pixels")
    how.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images left to right")
    how.add_argument("--cutout", type=int, metavar="S", help="blacken a random square of S x S pixels in each image")
    how.add_argument("--seed", type=int, metavar="N", help="seed of weights, split and batches; default: 0")
    _add_optimizer_arguments(parser.add_argument_group("optimizer"))
    _add_schedule_arguments(parser.add_argument_group("learning rate as training goes on"))
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="folder for the results; default: runs/<time>-<model>")
    output.add_argument("--report-every", type=int, metavar="N", help="iterations between two reports; default: 100")
    output.add_argument(
        "--measure-training",
        action="store_true",
        default=None,
        help="measure the training accuracy on all training images at each report; default: a moving average over the "
        "batches, which costs nothing but is late where few batches make an epoch",
    )
    output.add_argument("--no-plots", action="store_true", help="draw no plots")
    output.add_argument("--quiet", action="store_true", help="print errors only")
    common.add_speed_arguments(parser.add_argument_group("speed"))
    return parser


def _own(setting: str) -> str:
    """The default of a flag that each model has its own for, with that of the default model as an example."""
    return f"default: the model's own ({getattr(models.recipe(_DEFAULT_MODEL), setting)} of {_DEFAULT_MODEL})"


def _add_optimizer_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        help=f"formula by which the gradient changes the weights; {_own('optimizer')}",
    )
    group.add_argument(
        "--lr",
        type=float,
        dest="learning_rate",
        metavar="α",
        help=f"learning rate; {_own('learning_rate')}; with another optimizer than the model's: "
        f"{AdaGrad.learning_rate} of adagrad and rmsprop, {Adam.learning_rate} of adam and adamw",
    )
    group.add_argument(
        "--weight-decay", type=float, metavar="λ", help=f"pull of all parameters towards 0; {_own('weight_decay')}"
    )
    group.add_argument(
        "--decay-biases",
        action=argparse.BooleanOptionalAction,
        help="whether weight decay pulls at biases and at the scales of batch normalisation too; default: it does",
    )
    group.add_argument("--clip-norm", type=float, metavar="L", help="shorten gradients that are longer than this")
    group.add_argument(
        "--momentum",
        type=float,
        metavar="μ",
        help=f"memory of earlier gradients, from 0 to below 1; {_own('momentum')}",
    )
    group.add_argument(
        "--momentum-form",
        choices=MOMENTUM_FORMS,
        help="moving-average: m = μ·m + (1-μ)·g, θ -= α·(m + λ·θ); heavy-ball: v = μ·v - α·(g + λ·θ), θ += v; "
        "nesterov: the same v, θ += μ·v - α·(g + λ·θ). These two go 1/(1-μ) times as far with the same α, so give a "
        f"tenth of it for μ = 0.9; default: the model's own ({Momentum.form} of {_DEFAULT_MODEL})",
    )
    group.add_argument("--lr-decay", type=float, metavar="η", help="adagrad: α/(1 + η·t) in step t")
    group.add_argument("--rho", type=float, metavar="ρ", help="rmsprop: memory of squared gradients")
    group.add_argument("--beta1", type=float, metavar="β", help="adam, adamw: memory of gradients")
    group.add_argument("--beta2", type=float, metavar="β", help="adam, adamw: memory of squared gradients")
    group.add_argument(
        "--epsilon",
        type=float,
        metavar="ε",
        help="adagrad, rmsprop, adam, adamw: what keeps divisors above 0",
    )
    group.add_argument(
        "--amsgrad", action="store_const", const=True, help="adam, adamw: divide by the largest average so far"
    )


def _add_schedule_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="factor of α in iteration t. step: γ^floor(t/N); exponential: γ^(t/N); inverse-time: 1/(1 + t/N); cosine: "
        "half a wave that ends with the run; plateau: times γ when validation accuracy stands still; default: constant",
    )
    group.add_argument("--schedule-every", type=int, metavar="N", help="step, exponential, inverse-time: iterations")
    group.add_argument("--schedule-gamma", type=float, metavar="γ", help="step, exponential, plateau; default: 0.1")
    group.add_argument("--schedule-minimum", type=float, metavar="M", help="cosine: factor at the end; default: 0")
    group.add_argument(
        "--schedule-patience", type=int, metavar="N", help="plateau: reports without a better one; default: 10"
    )
    group.add_argument(
        "--warmup", type=int, metavar="N", help="iterations in which α rises in a straight line, before the schedule"
    )


def _train(
    out: str | None,
    no_plots: bool,
    quiet: bool,
    threads: int | None,
    kernels: str,
    no_malloc_tuning: bool,
    **settings: Any,
) -> int:
    common.tune(threads, kernels, no_malloc_tuning)
    console = common.make_console(quiet)
    for name in ("data_dir", "weights"):
        if settings[name]:
            settings[name] = os.path.abspath(settings[name])  # so that config.json holds from anywhere
    given = {name: settings.pop(name) for name in _MODEL_OPTIONS}
    model_options = {name: value for name, value in given.items() if value is not None}
    config = TrainConfig.for_model(**settings, model_options=model_options)
    trainer = Trainer(config, datasets.load(config.data, config.data_dir, config.image_size))
    folder = RunFolder.create(out) if out else RunFolder.create_default(config.model)
    backend = trainer.network.backend  # with --device auto, what was found
    folder.write_config(dataclasses.replace(config, device=backend.device_name(), backend=backend.name))
    _print_start(console, trainer)

    with _stopped_by_ctrl_c(trainer, console) as interrupted:
        records = _follow(console, trainer, folder)
    if not records:
        return common.EXIT_INTERRUPTED
    if trainer.best:
        kept = trainer.best.record
        console.print(f"Best validation accuracy: {kept.validation_accuracy:.2%} in iteration {kept.iteration}; kept.")
    trainer.network.save(folder.weights_path)
    evaluation = trainer.test()
    folder.write_json(SUMMARY, _summary(trainer, records, evaluation, interrupted()))
    if not no_plots:
        _draw(folder, trainer, records, evaluation)
    report.print_evaluation(console, evaluation, trainer.dataset.class_names)
    console.print(f"{trainer.images_per_second:,.0f} training images per second. Results are in {folder.path}")
    return common.EXIT_INTERRUPTED if interrupted() else common.EXIT_OK


def _print_start(console: Console, trainer: Trainer) -> None:
    data, backend = trainer.dataset, trainer.network.backend
    console.print(
        f"{trainer.config.model} on {data.name}, {backend.describe()}: {trainer.sampler.count:,} training images, "
        f"{trainer.iterations:,} iterations of {trainer.config.batch_size} images"
    )
    report.print_layers(console, trainer.network)


def _follow(console: Console, trainer: Trainer, folder: RunFolder) -> list[Record]:
    """Train, writing and showing each record as it comes: a progress bar on a terminal, lines elsewhere."""
    records: list[Record] = []
    history = HistoryFile(folder.history_path)
    try:
        with _progress(console, trainer) as show:
            for record in trainer.run(lambda iteration: show(iteration, None)):
                records.append(record)
                history.append(record)
                show(record.iteration, record)
    finally:
        history.close()
    return records


@contextmanager
def _progress(console: Console, trainer: Trainer) -> Iterator[Callable[[int, Record | None], None]]:
    def print_line(iteration: int, record: Record | None) -> None:
        if record:
            number, speed = f"{iteration:>{len(str(trainer.iterations))}}", f"{trainer.images_per_second:,.0f} images/s"
            console.print(f"iteration {number}  {report.record_text(record)}  {speed}")

    if not console.is_terminal:
        yield print_line
        return
    layout = (BarColumn(6), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*layout, console=console, refresh_per_second=5) as progress:
        bar = progress.add_task("", total=trainer.iterations)

        def update_bar(iteration: int, record: Record | None) -> None:
            text = f"{report.short_text(record)} {trainer.images_per_second:,.0f} img/s" if record else None
            progress.update(bar, completed=iteration, description=text)

        yield update_bar


@contextmanager
def _stopped_by_ctrl_c(trainer: Trainer, console: Console) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C ends training after the iteration in progress, a second one the program."""
    pressed = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        trainer.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        console.print("Ctrl-C: stopping after this iteration, then testing what was learned. Once more to quit now.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _summary(trainer: Trainer, records: list[Record], evaluation: Evaluation, interrupted: bool) -> dict[str, Any]:
    config, last = trainer.config, records[-1]
    kept = trainer.best.record if trainer.best else last
    return {
        "model": config.model,
        "data": config.data,
        "device": trainer.network.backend.device_name(),
        "backend": trainer.network.backend.name,
        "seed": config.seed,
        "parameters": trainer.network.parameter_count,
        "iterations": last.iteration,
        "batch_size": config.batch_size,
        "interrupted": interrupted,
        "weights_of_iteration": kept.iteration,
        "classification_loss": kept.classification_loss,
        "weight_decay_loss": kept.weight_decay_loss,
        "train_accuracy": kept.train_accuracy,
        "validation_accuracy": kept.validation_accuracy,
        **evaluation.figures(),
        "seconds": last.seconds,
        "images_per_second": trainer.images_per_second,
        "versions": versions(trainer.network.backend),
    }


def _draw(folder: RunFolder, trainer: Trainer, records: list[Record], evaluation: Evaluation) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    data, history = trainer.dataset, columns(records)
    figures = {
        "loss": plots.loss_curves(history),
        "accuracy": plots.accuracy_curves(history),
        "error_rate": plots.error_rate_curves(history, trainer.sampler.batches_per_epoch),
        "misclassified": plots.misclassified(
            data.test_images,
            data.test_labels,
            evaluation.probabilities.argmax(axis=1),
            data.class_names,
            evaluation.probabilities,
        ),
        "confusion_matrix": plots.confusion_matrix(evaluation.confusion, data.class_names),
    }
    kernels = [weight for weight in trainer.network.parameters().values() if weight.ndim == 4]
    if kernels:
        figures["filters"] = plots.filters(to_numpy(kernels[0]))
    for name, figure in figures.items():
        plots.save(figure, folder.plots_path / f"{name}.png")
