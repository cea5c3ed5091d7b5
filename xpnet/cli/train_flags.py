"""The flags of ``train``: each sets one of ``runs.settings``, or says what is printed and written."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from typing import Any

from xpnet.cli import common, following
from xpnet.cli.common import choices, listed
from xpnet.cli.ranks import engine_of
from xpnet.losses import CLASS_LOSSES
from xpnet.models.hub import is_remote
from xpnet.optimizers import OPTIMIZERS
from xpnet.optimizers.gradient_descent import MOMENTUM_FORMS
from xpnet.parallel.compression import WIRE_DTYPES
from xpnet.runs import RunConfig
from xpnet.runs.checkpoint import CheckpointPlan
from xpnet.runs.folder import TENSORBOARD
from xpnet.runs.settings import SETTINGS, flatten, make_run
from xpnet.runtime import DTYPES, PRECISIONS
from xpnet.schedules import SCHEDULES

DEFAULT_MODEL = "mnist_starter"
_Group = argparse._ArgumentGroup
_ON_OFF = argparse.BooleanOptionalAction


def make_parser(prog: str) -> common.Parser:
    """The parser of ``train``."""
    parser = common.Parser(
        prog=prog,
        description="Train a network. Without options: the MNIST starter network on the bundled digits, on the CPU, in "
        "15 to 25 seconds on two cores. Unset options use the model's recipe: as published, where that is known.",
        epilog="Exit codes: 0 trained, 1 diverged or cannot print, 2 bad input or a file cannot be written, 129 "
        "terminal closed (SIGHUP), 130 Ctrl-C, 143 SIGTERM. --resume continues a stopped run.",
    )
    parser.add_help_all()
    _add_common(parser.add_argument_group("everyday options"))
    for title, description, add in (
        ("optimizer", "weight decay, momentum, clipping, frozen parameters", _add_optimizer),
        ("schedule", "how the learning rate changes; warm-up", _add_schedule),
        ("loss", "which, label smoothing, class weights; early stopping", _add_loss),
        ("images", "how many, validation, normalisation, augmentation", _add_images),
        ("model", "sizes and variants; weights to start from", _add_model),
        ("computing", "array library, precision, threads, kernels", _add_runtime),
        ("several processes", "MPI, torchrun", _add_processes),
        ("output", "reports, plots, checkpoints, logs, TensorBoard", _add_output),
    ):
        add(parser.add_argument_group(title, description))
    return parser


def settings_of(flags: argparse.Namespace) -> dict[str, Any]:
    """The run's settings among the flags that were given."""
    settings = common.given(flags, {name: name for name in SETTINGS})
    for name in {"data_dir", "weights"} & settings.keys():
        if not is_remote(settings[name]):
            settings[name] = os.path.abspath(settings[name])  # so that config.json holds from anywhere
    settings["parallel"] = engine_of(flags)
    return settings


def command_of(run: RunConfig) -> list[str]:
    """The command that repeats a run: what is not as the model's recipe has it."""
    spellings = make_parser("train").spellings()
    usual = flatten(make_run(run.model))
    words = ["xpnet", "train", "--model", run.model]
    for name, value in flatten(run).items():
        if value is not None and value != usual[name] and name in spellings:
            words += _spelled(spellings[name], value)
    return words


def command_text(config: RunConfig) -> str:
    """The command that repeats a run, for a shell."""
    return shlex.join(command_of(config))


def _spelled(flags: Sequence[str], value: Any) -> list[str]:
    if flags == ("--normalize",) and isinstance(value, bool):
        value = "yes" if value else "no"
    if isinstance(value, bool):
        flag = flags[0] if value else flags[-1]
        return [flag] if value or flag.startswith("--no-") else []  # what is off unless said cannot be said
    return [flags[0], *map(str, value if isinstance(value, list | tuple) else [value])]


def _add_common(group: _Group) -> None:
    group.add_argument(
        "--model",
        metavar="NAME",
        help=f"mlp, lenet5, resnet18, vit_tiny or another of docs/networks.md; default: {DEFAULT_MODEL}",
    )
    common.add_data_arguments(group)
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    length.add_argument("--iterations", type=int, metavar="N", help="batches to train on, instead of --epochs")
    group.add_argument("--batch-size", type=int, metavar="N", help="images in a batch")
    group.add_argument("--lr", type=float, dest="learning_rate", metavar="α", help="learning rate")
    group.add_argument("--optimizer", **choices(OPTIMIZERS), help=listed(OPTIMIZERS))
    common.add_device_arguments(group, backend=False)
    group.add_argument("--seed", type=int, metavar="N", help="seed of weights, split and batches; default: 0")
    folder = group.add_mutually_exclusive_group()
    folder.add_argument("--out", metavar="DIR", help="folder for the results; default: runs/<time>-<model>")
    folder.add_argument(
        "--resume",
        metavar="RUN",
        help="continue the run in this folder from its newest checkpoint, on the same CPU bit for bit; only its "
        "length, --data-dir and how it is computed may differ",
    )


def _add_optimizer(group: _Group) -> None:
    group.add_argument("--weight-decay", type=float, metavar="λ", help="weight decay (L2; decoupled for adamw)")
    group.add_argument(
        "--decay-biases", action=_ON_OFF, help="weight decay of biases and normalisation scales; default: on"
    )
    group.add_argument("--clip-norm", type=float, metavar="L", help="shorten gradients longer than L; default: off")
    group.add_argument(
        "--accumulate", type=int, metavar="K", help="compute each batch in K parts, for less memory; default: 1"
    )
    group.add_argument(
        "--ema",
        type=float,
        metavar="D",
        help="validate, test and save a moving average of the weights, D·average + (1-D)·weights (at first their plain "
        "mean); default: off",
    )
    group.add_argument("--momentum", type=float, metavar="μ", help="momentum: from 0 to below 1")
    group.add_argument(
        "--momentum-form",
        **choices(MOMENTUM_FORMS),
        help="moving-average: m = μ·m + (1-μ)·g, θ -= α·(m + λ·θ); heavy-ball: v = μ·v - α·(g + λ·θ), θ += v; "
        "nesterov: the same v, θ += μ·v - α·(g + λ·θ). The last two take steps 1/(1-μ) times as long with the same α",
    )
    group.add_argument("--lr-decay", type=float, metavar="η", help="adagrad: α/(1 + η·(t - 1)) in step t")
    group.add_argument("--rho", type=float, metavar="ρ", help="rmsprop: decay of the average squared gradient")
    group.add_argument("--beta1", type=float, metavar="β", help="adam, adamw: decay of the average gradient")
    group.add_argument("--beta2", type=float, metavar="β", help="adam, adamw: decay of the average squared gradient")
    group.add_argument("--epsilon", type=float, metavar="ε", help="adagrad, rmsprop, adam, adamw: added to divisors")
    group.add_argument(
        "--amsgrad", action="store_const", const=True, help="adam, adamw: divide by the largest average so far"
    )
    group.add_argument(
        "--freeze",
        nargs="+",
        metavar="PATTERN",
        help="do not train parameters whose names match, such as conv1.weight or 'features.*'; a batch normalisation "
        "frozen as a whole keeps its running statistics",
    )


def _add_schedule(group: _Group) -> None:
    group.add_argument(
        "--schedule",
        **choices(SCHEDULES),
        help="factor of α in iteration t. constant: 1; step: γ^floor(t/N); exponential: γ^(t/N); inverse-time: "
        "1/(1+t/N); cosine: half a cosine wave over the run; plateau: times γ when validation no longer improves",
    )
    group.add_argument("--schedule-every", type=int, metavar="N", help="step, exponential, inverse-time: N")
    group.add_argument("--schedule-gamma", type=float, metavar="γ", help="step, exponential, plateau; default: 0.1")
    group.add_argument("--schedule-minimum", type=float, metavar="M", help="cosine: factor at the end; default: 0")
    group.add_argument("--schedule-patience", type=int, metavar="N", help="plateau: reports to wait; default: 10")
    group.add_argument("--warmup", type=int, metavar="N", help="raise α linearly in the first N iterations")


def _add_loss(group: _Group) -> None:
    group.add_argument("--loss", **choices(CLASS_LOSSES), help=f"{listed(CLASS_LOSSES)}; default: cross-entropy")
    group.add_argument("--label-smoothing", type=float, metavar="S", help="cross-entropy: share spread over classes")
    group.add_argument("--focal-gamma", type=float, metavar="γ", help="focal; default: 2")
    group.add_argument(
        "--class-weight", choices=["balanced"], metavar="HOW", help="balanced: rare classes weigh more; default: off"
    )
    group.add_argument(
        "--early-stopping",
        type=int,
        metavar="N",
        help="stop after N reports without a better validation accuracy, and keep the best weights",
    )
    group.add_argument("--min-delta", type=float, metavar="D", help="with --early-stopping: better by more than D")


def _add_images(group: _Group) -> None:
    common.add_image_size_argument(group)
    group.add_argument("--limit", type=int, metavar="N", help="train on N images only")
    group.add_argument("--shuffle", action=_ON_OFF, help="a new order of the images in each epoch; default: on")
    group.add_argument(
        "--validation",
        type=common.number,
        metavar="N",
        help="training images held out for validation: a number, a fraction, or 0; default: 2000, at most a tenth",
    )
    group.add_argument(
        "--normalize",
        type=common.yes_no_or_number,
        metavar="HOW",
        help="shift each channel to mean 0 and scale it to standard deviation 1 (yes) or by a factor (a number), or "
        "leave pixels as they are (no)",
    )
    group.add_argument("--crop-padding", type=int, metavar="P", help="random crops of images padded by P black pixels")
    group.add_argument("--flip", action=_ON_OFF, help="mirror half of the images left to right")
    group.add_argument("--cutout", type=int, metavar="S", help="blacken a random square of S x S pixels in each image")
    group.add_argument("--mixup", type=float, metavar="α", help="blend pairs of images and classes; λ ~ Beta(α, α)")
    group.add_argument("--cutmix", type=float, metavar="α", help="swap boxes of images, blend classes; λ ~ Beta(α, α)")


def _add_model(group: _Group) -> None:
    group.add_argument("--hidden", type=int, nargs="+", metavar="N", help="of mlp: units of each hidden layer")
    group.add_argument("--dropout", type=float, metavar="P", help="of networks with dropout: probability of dropping")
    common.add_model_arguments(group)
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="start from these weights: a run's folder, a file that xpnet saved, an ONNX model of the same layers "
        "(.onnx), torchvision's for this model (.pth, or .safetensors with torchvision's names) or their URL, or "
        "hf:OWNER/NAME of the Hugging Face Hub (extra hub)",
    )
    group.add_argument(
        "--replace-head",
        action="store_true",
        default=None,
        help="with --weights: start with a new last layer, for other classes than the file's",
    )


def _add_runtime(group: _Group) -> None:
    common.add_backend_argument(group)
    group.add_argument("--dtype", **choices(DTYPES), help="of weights and activations; default: float32")
    group.add_argument(
        "--precision",
        **choices(PRECISIONS),
        help="matrix-multiply precision. tf32: on CuPy arrays, 10 bits of mantissa on tensor cores; "
        "float16: forward and backward passes in float16 with an adaptive loss scale; bfloat16: the same on PyTorch's "
        "and JAX's arrays, without a scale; default: float32",
    )
    common.add_speed_arguments(group)
    group.add_argument(
        "--graph",
        action=_ON_OFF,
        help="on CuPy arrays: replay the training step as one CUDA graph; default: off",
    )
    group.add_argument(
        "--deterministic",
        action=_ON_OFF,
        help="the same bits from every run on a GPU too, as always on a CPU; default: off",
    )


def _add_processes(group: _Group) -> None:
    common.add_parallel_argument(group)
    group.add_argument(
        "--allreduce-dtype",
        **choices(WIRE_DTYPES),
        help="send gradients between processes in 16 bits, and round them to that; default: as they were computed",
    )
    group.add_argument(
        "--sync-batch-norm",
        action=_ON_OFF,
        help="batch normalisation by the statistics of the whole batch, not of each process's part; default: on",
    )


def _add_output(group: _Group) -> None:
    plan = CheckpointPlan()
    group.add_argument("--report-every", type=int, metavar="N", help="iterations between reports; default: 100")
    group.add_argument(
        "--measure-training",
        action="store_true",
        default=None,
        help="measure the training accuracy on all training images; default: a moving average over batches",
    )
    group.add_argument("--no-plots", action="store_true", help="draw no plots and write no report")
    group.add_argument("--quiet", action="store_true", help="print errors only")
    group.add_argument("--checkpoint-every", type=int, metavar="N", help="write a checkpoint every N iterations")
    group.add_argument(
        "--checkpoint-minutes", type=float, metavar="M", help=f"and every M minutes; default: {plan.minutes:g}"
    )
    group.add_argument("--keep", type=int, metavar="N", help=f"keep the N newest checkpoints; default: {plan.keep}")
    group.add_argument("--log-file", metavar="FILE", help="write a log with timestamps to this file")
    group.add_argument(
        "--log-level",
        **choices(following.LOG_LEVELS),
        help="with --log-file: debug, info, warning, error; default: info",
    )
    group.add_argument(
        "--tensorboard", action="store_true", help=f"write event files for TensorBoard to {TENSORBOARD}/ in the folder"
    )
    group.add_argument(
        "--detect-nonfinite",
        action="store_true",
        help="check after each step for infinite values and NaN, and name the layer where they begin (slower)",
    )
