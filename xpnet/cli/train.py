"""Train a network and leave a folder with its settings, history, weights, test result and plots."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from rich.console import Console

from xpnet import datasets, kernels, models, runtime
from xpnet.backend import to_numpy
from xpnet.cli import common, following, report
from xpnet.losses import LOSSES
from xpnet.network import DTYPES
from xpnet.optimizers import MOMENTUM_FORMS, OPTIMIZERS, AdaGrad, Adam, Momentum
from xpnet.schedules import SCHEDULES
from xpnet.training import Evaluation, Record, TrainConfig, Trainer
from xpnet.training.checkpoint import CheckpointPlan, CheckpointWriter, load_newest, resume, resumed_config
from xpnet.training.config import PRECISIONS
from xpnet.training.history import HistoryFile, MetricsFile, columns, cut_back
from xpnet.training.run_folder import SUMMARY, TENSORBOARD, RunFolder, versions
from xpnet.training.run_lock import only_user
from xpnet.training.tensorboard import TensorBoardFile, find_library
from xpnet.training.trainer import make_network

_DEFAULT_MODEL = "mnist_starter"


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _train(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="train.py",
        description="Train a network. Without any flag: the MNIST starter network on the bundled digits, on the CPU, "
        "in 14 to 20 seconds on two cores. Every flag's default is the model's own: what it was published with, where "
        "that is known.",
        epilog="Exit codes: 0 trained, 1 the loss became infinite or NaN or nothing can be printed, 2 bad input or a "
        "file cannot be written, 129 stopped by the loss of the terminal, 130 by Ctrl-C, 143 by SIGTERM. What was "
        "stopped goes on with --resume.",
    )
    what = parser.add_argument_group("what to train, and on which images")
    what.add_argument("--model", help=f"{', '.join(models.names())}; default: {_DEFAULT_MODEL}")
    common.add_data_arguments(what)
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
        help="keep parameters as they are whose names match, such as conv1.weight or 'features.*'; a batch "
        "normalisation whose weight and bias both match keeps its running statistics too; default: none",
    )
    options = parser.add_argument_group("model options", "of the models that have them; default: the model's own")
    options.add_argument("--hidden", type=int, nargs="+", metavar="N", help="units of each hidden layer (mlp)")
    options.add_argument("--dropout", type=float, metavar="P", help="probability of dropping (mlp, fer_cnn, alexnet)")
    common.add_model_arguments(options)
    where = parser.add_argument_group("where")
    common.add_device_arguments(where)
    where.add_argument("--dtype", choices=DTYPES, help="of weights and images; default: float32")
    where.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of products. tf32: with CuPy, tensor cores may round factors of float32 to 10 bits of mantissa "
        "(unverified: has not run on a GPU yet); other devices compute in float32. float16, on every device: forward "
        "and backward passes in float16 with a loss scale that adapts, weights in float32 (slow on a CPU; unverified "
        "on a GPU); default: float32",
    )
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
    folder = output.add_mutually_exclusive_group()
    folder.add_argument("--out", metavar="DIR", help="folder for the results; default: runs/<time>-<model>")
    folder.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run of this folder from its newest checkpoint, with its own settings; only --device, "
        "--backend, --threads, --kernels, --graph, --deterministic, --data-dir, --iterations and --epochs may be "
        "others. On the same CPU the result is, bit for bit, that of a run that was never stopped; default: a new run",
    )
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
    speed = parser.add_argument_group("speed")
    common.add_speed_arguments(speed)
    speed.add_argument(
        "--graph",
        action=argparse.BooleanOptionalAction,
        help="with CuPy: replay the training step as one CUDA graph, with the same results (unverified: it has not run "
        "on a GPU yet); networks with convolutions need --kernels cudnn for it; default: --no-graph",
    )
    speed.add_argument(
        "--deterministic",
        action=argparse.BooleanOptionalAction,
        help="on a GPU: the same bits from every run, maybe slower (unverified: it has not run on a GPU yet). On the "
        "CPU they are the same anyway, with the same --threads and threads of BLAS; default: --no-deterministic",
    )
    _add_checkpoint_arguments(parser.add_argument_group("checkpoints and logs"))
    return parser


def _add_checkpoint_arguments(group: argparse._ActionsContainer) -> None:
    plan = CheckpointPlan()
    group.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="write a checkpoint every N iterations; default: by time only"
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=float,
        metavar="M",
        help=f"write a checkpoint every M minutes, and always at the end; default: {plan.minutes:g}",
    )
    group.add_argument("--keep", type=int, metavar="N", help=f"checkpoints to keep, the newest; default: {plan.keep}")
    group.add_argument("--log-file", metavar="FILE", help="write a log, with times, to this file; default: none")
    group.add_argument(
        "--log-level", choices=following.LOG_LEVELS, default="info", help="least level in the log; default: %(default)s"
    )
    group.add_argument(
        "--tensorboard",
        action="store_true",
        help=f"write event files for TensorBoard to {TENSORBOARD}/ in the folder of the results; default: none",
    )
    group.add_argument(
        "--detect-nonfinite",
        action="store_true",
        help="look at the loss and the weights after each step, and name the first layer whose output or gradient is "
        "infinite or NaN (slower); default: losses are looked at when they are reported",
    )


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
    group.add_argument("--lr-decay", type=float, metavar="η", help="adagrad: α/(1 + η·(t - 1)) in step t")
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


def _train(flags: argparse.Namespace) -> int:
    console = common.make_console(flags.quiet)
    plan = CheckpointPlan(
        **_given(flags, {"checkpoint_every": "every", "checkpoint_minutes": "minutes", "keep": "keep"})
    )
    tensorboard = find_library() if flags.tensorboard else None
    with following.logging_to(flags.log_file, flags.log_level), ExitStack() as stack:
        if flags.resume:
            trainer, folder, records = _resume(flags, console, stack)
        else:
            trainer, folder, records = *_begin(flags, stack), []
        _print_start(console, trainer)

        history = stack.enter_context(closing(HistoryFile(folder.history_path)))
        recorders = [history, stack.enter_context(closing(MetricsFile(folder.metrics_path)))]
        if tensorboard:
            file = TensorBoardFile(tensorboard, folder.path / TENSORBOARD, trainer.reported)
            recorders.append(stack.enter_context(closing(file)))
        checkpoints = CheckpointWriter(folder, trainer, history, plan, records)
        stop_signals = following.StopSignals(trainer, console)
        with stop_signals.listening():
            records += following.run_training(
                console, trainer, recorders, checkpoints, stop_signals, detect_nonfinite=flags.detect_nonfinite
            )
        stop_signals.check(checkpoints)  # for a signal that came too late for ``run_training``
        _finish(console, trainer, folder, records, interrupted=stop_signals.cut_short, plots=not flags.no_plots)
    return common.EXIT_OK if stop_signals.signal is None else common.EXIT_INTERRUPTED


def _given(flags: argparse.Namespace, names: Mapping[str, str]) -> dict[str, Any]:
    """The flags of these names that were given, by the names they have elsewhere."""
    return {there: getattr(flags, here) for here, there in names.items() if getattr(flags, here) is not None}


def _settings(flags: argparse.Namespace) -> dict[str, Any]:
    """Those of the run's settings that were given."""
    names = {field.name for field in dataclasses.fields(TrainConfig)} & vars(flags).keys()
    settings = _given(flags, {name: name for name in names})
    for name in {"data_dir", "weights"} & settings.keys():
        settings[name] = os.path.abspath(settings[name])  # so that config.json holds from anywhere
    options = _given(flags, {name: name for name in common.MODEL_OPTIONS})
    return {**settings, **({"model_options": options} if options else {})}


def _make_trainer(config: TrainConfig, flags: argparse.Namespace, *, begins: bool = True) -> Trainer:
    """The trainer of a run; unless it ``begins``, a checkpoint has all values, and those to start from are not read."""
    runtime.configure(
        config.threads,
        config.kernels,
        flags.no_malloc_tuning,
        config.precision if config.precision in kernels.PRECISIONS else "float32",
        graph=config.graph,
        deterministic=config.deterministic,
        backend=config.backend,
    )
    dataset = datasets.load(config.data, config.data_dir, config.image_size)
    if begins or config.weights is None:
        return Trainer(config, dataset)
    anew = dataclasses.replace(config, weights=None, replace_head=False)
    return Trainer(config, dataset, make_network(anew, dataset))


def _begin(flags: argparse.Namespace, stack: ExitStack) -> tuple[Trainer, RunFolder]:
    """A new run in a new folder."""
    config = TrainConfig.for_model(**{"model": _DEFAULT_MODEL, "threads": runtime.cores(), **_settings(flags)})
    trainer = _make_trainer(config, flags)
    folder = RunFolder.create(flags.out) if flags.out else RunFolder.create_default(config.model)
    stack.enter_context(only_user(folder.path))
    folder.make_checkpoints()  # before the settings: a run that is resumed without it has lost something
    backend = trainer.network.backend  # with --device auto, what was found
    folder.write_config(dataclasses.replace(config, device=backend.device_name(), backend=backend.name))
    return trainer, folder


def _resume(flags: argparse.Namespace, console: Console, stack: ExitStack) -> tuple[Trainer, RunFolder, list[Record]]:
    """A run as its newest checkpoint has it, with the records up to there."""
    folder = RunFolder.open_begun(flags.resume)
    stack.enter_context(only_user(folder.path))
    newest = load_newest(folder)
    config = resumed_config(folder.read_config(), _settings(flags))
    trainer = _make_trainer(config, flags, begins=not newest)
    if newest:
        for error in newest.unreadable:
            following.note(console, f"{error} The one before it is used.")
        differences = resume(trainer, newest.path, newest.checkpoint)
        following.note(console, f"Resumed after iteration {trainer.iteration:,} from {newest.path}")
        if differences:
            following.note(
                console, f"Results will equal an uninterrupted run's within rounding only: {', '.join(differences)}."
            )
    else:
        following.note(console, f"Run folder {folder.path} has no checkpoint yet: starting at the beginning.")
    records = cut_back(folder.history_path, trainer.reported)
    folder.write_config(config)
    return trainer, folder, records


def _finish(
    console: Console, trainer: Trainer, folder: RunFolder, records: list[Record], *, interrupted: bool, plots: bool
) -> None:
    """Write and show what came out of it."""
    if trainer.best:
        kept = trainer.best.record
        console.print(f"Best validation accuracy: {kept.validation_accuracy:.2%} in iteration {kept.iteration}; kept.")
    trainer.network.save(folder.weights_path)
    folder.write_class_names(trainer.dataset.class_names)
    evaluation = trainer.test()
    folder.write_json(SUMMARY, _summary(trainer, records, evaluation, interrupted))
    if plots:
        _draw(folder, trainer, records, evaluation)
    report.print_evaluation(console, evaluation, trainer.dataset.class_names)
    following.note(
        console, f"{trainer.images_per_second:,.0f} training images per second. Results are in {folder.path}"
    )


def _print_start(console: Console, trainer: Trainer) -> None:
    data, backend = trainer.dataset, trainer.network.backend
    console.print(
        f"{trainer.config.model} on {data.name}, {backend.describe()}: {trainer.sampler.count:,} training images, "
        f"{trainer.iterations:,} iterations of {trainer.config.batch_size} images"
    )
    report.print_layers(console, trainer.network)


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
        "loss": kept.loss,
        "weight_decay_loss": kept.weight_decay_loss,
        "train_accuracy": kept.train_accuracy,
        "validation_accuracy": kept.validation_accuracy,
        **evaluation.to_dict(),
        "seconds": last.seconds,
        "images_per_second": trainer.images_per_second,
        "versions": versions(trainer.network.backend),
    }


def _draw(folder: RunFolder, trainer: Trainer, records: list[Record], evaluation: Evaluation) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    data, history, batches_per_epoch = trainer.dataset, columns(records), trainer.sampler.batches_per_epoch
    unit = batches_per_epoch if trainer.config.epochs else None  # the run's length is given in epochs or iterations
    figures = {
        "loss": plots.loss_curves(history, unit),
        "accuracy": plots.accuracy_curves(history, not trainer.config.measure_training, unit),
        "error_rate": plots.error_rate_curves(history, batches_per_epoch),
        "misclassified": plots.misclassified(
            data.test_inputs,
            data.test_targets,
            evaluation.probabilities.argmax(axis=1),
            data.class_names,
            evaluation.probabilities,
        ),
        "confusion_matrix": plots.confusion_matrix(evaluation.confusion, data.class_names),
    }
    filters = [weight for weight in trainer.network.parameters().values() if weight.ndim == 4]
    if filters:
        figures["filters"] = plots.filters(to_numpy(filters[0]))
    for name, figure in figures.items():
        plots.save(figure, folder.plots_path / f"{name}.png")
