"""Learning curves of one run, and of several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xpnet.errors import InputError
from xpnet.plots.style import (
    ACCURACIES,
    PAGE_WIDTH,
    RUN_COLOURS,
    STYLE,
    Columns,
    label_powers,
    make_figure,
    shorten,
    write_instead,
)
from xpnet.training.history import History

_SMALLEST_RATE = 0.1  # percent; below it error rates are on a linear scale, which has a 0


@rc_context(STYLE)
def history(training: History) -> Figure:
    """Draw the loss and the score (accuracy or R²) of a training, and those of validation where there are any.

    The axis counts epochs, or iterations where it is not known how many make an epoch.
    """
    columns, metric = training.to_dict(), training.metric
    figure = make_figure(PAGE_WIDTH, 3.2)
    losses, scores = figure.subplots(1, 2)
    kinds = {"train": "Training", "validation": "Validation"}
    titles = {"loss": kinds["train"], "validation_loss": kinds["validation"]}
    draw_curves(losses, "history", columns, titles, batches_per_epoch=training.batches_per_epoch)
    losses.set(title="Loss", ylabel="Loss")
    titles = {f"{kind}_{metric}": title for kind, title in kinds.items()}
    is_share = metric == "accuracy"
    scale = 100 if is_share else 1
    draw_curves(scores, "history", columns, titles, scale, batches_per_epoch=training.batches_per_epoch)
    scores.set(title="Accuracy" if is_share else "R²", ylabel="Accuracy (%)" if is_share else "R²")
    return figure


@rc_context({**STYLE, "axes.prop_cycle": cycler(color=RUN_COLOURS) + cycler(linestyle=["-", "--", "-.", ":"] * 2)})
def run_comparison(histories: Mapping[str, History]) -> Figure:
    """Draw the training loss and the validation score of several runs, by their names, against the iteration.

    The scores are in percent where all of them are accuracies.
    """
    figure = make_figure(PAGE_WIDTH, 3.4)
    metrics = {training.metric for training in histories.values()}
    score, unit, scale = {
        frozenset({"accuracy"}): ("accuracy", "Accuracy (%)", 100),
        frozenset({"r2"}): ("R²", "R²", 1),
    }.get(frozenset(metrics), ("score", "Accuracy or R²", 1))
    panels = {"loss": ("Training loss", "Loss", 1), "validation_score": (f"Validation {score}", unit, scale)}
    for axes, (field, (title, label, scale)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name, training in histories.items():
            places = [record.iteration for record in training]
            values = np.asarray([getattr(record, field) for record in training], np.float64)
            axes.plot(places, scale * values, label=shorten(name))
        axes.set(title=title, xlabel="Iteration", ylabel=label)
        axes.grid(visible=True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@rc_context(STYLE)
def loss_curves(history: Columns, batches_per_epoch: int | None = None) -> Figure:
    """Draw the total loss, the classification loss and the weight-decay loss against the iteration.

    With ``batches_per_epoch`` the axis counts epochs instead. Reads the columns iteration, total_loss, loss and
    weight_decay_loss; values that are not finite leave a gap.

    Raises
    ------
    InputError
        For columns of unequal length, a missing one included.
    """
    labels = {
        "total_loss": "Total",
        "loss": "Classification",
        "weight_decay_loss": "Weight decay",
    }
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    draw_curves(axes, "loss_curves", history, labels, batches_per_epoch=batches_per_epoch)
    axes.set(title="Training loss", ylabel="Loss", ylim=(0, None))
    return figure


@rc_context(STYLE)
def accuracy_curves(history: Columns, averaged: bool = True, batches_per_epoch: int | None = None) -> Figure:
    """Draw the training and validation accuracy, in percent, against the iteration.

    ``averaged`` says that the training accuracy is the moving average over batches, which lags behind. With
    ``batches_per_epoch`` the axis counts epochs instead. Reads the columns iteration, train_accuracy and
    validation_accuracy, fractions in [0, 1]; values that are not finite leave a gap.

    Raises
    ------
    InputError
        For columns of unequal length, a missing one included.
    """
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    labels = {**ACCURACIES, "train_accuracy": "Training (moving average)"} if averaged else ACCURACIES
    draw_curves(axes, "accuracy_curves", history, labels, scale=100, batches_per_epoch=batches_per_epoch)
    # The usual margin above a perfect score would show percentages that cannot be.
    axes.set(title="Accuracy", ylabel="Accuracy (%)", ylim=(None, min(axes.get_ylim()[1], 101)))
    return figure


@rc_context(STYLE)
def error_rate_curves(history: Columns, batches_per_epoch: int) -> Figure:
    """Draw the training and validation error rate, 100·(1 - accuracy) in percent, against epochs.

    The scale is logarithmic, so that the first fall and the last mistakes both show; where a rate falls below 0.1 % it
    is linear from there to 0. Reads the columns iteration, train_accuracy and validation_accuracy; values that are not
    finite leave a gap.

    Raises
    ------
    InputError
        For columns of unequal length, a missing one included.
    """
    rates = {name: 1 - np.asarray(history.get(name, ()), np.float64) for name in ACCURACIES}
    rates["iteration"] = np.asarray(history.get("iteration", ()))
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    draw_curves(axes, "error_rate_curves", rates, ACCURACIES, scale=100, batches_per_epoch=batches_per_epoch)
    if any(np.nanmin(line.get_ydata()) < _SMALLEST_RATE for line in axes.lines):
        axes.set_yscale("symlog", linthresh=_SMALLEST_RATE)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 100)
    else:
        axes.set_yscale("log")
        axes.set_ylim(None, min(axes.get_ylim()[1], 100))
        label_powers(axes.yaxis)
    axes.set(title="Error rate", ylabel="Error rate (%)")
    return figure


@rc_context(STYLE)
def cost_comparison(histories: Mapping[str, Columns], batches_per_epoch: int) -> Figure:
    """Draw the total training loss of several runs, by their names, against epochs; on a logarithmic scale.

    Reads the columns iteration, which must be the same in all runs, and total_loss.

    Raises
    ------
    InputError
        For columns of unequal length, a missing one included.
    """
    figure, axes = _comparison("cost_comparison", histories, "total_loss", batches_per_epoch)
    axes.set(title="Training cost", ylabel="Total loss", yscale="log")
    label_powers(axes.yaxis)
    return figure


@rc_context(STYLE)
def accuracy_comparison(histories: Mapping[str, Columns], batches_per_epoch: int) -> Figure:
    """Draw the validation accuracy of several runs, by their names, in percent against epochs.

    Reads the columns iteration, which must be the same in all runs, and validation_accuracy.

    Raises
    ------
    InputError
        For columns of unequal length, a missing one included.
    """
    figure, axes = _comparison("accuracy_comparison", histories, "validation_accuracy", batches_per_epoch, scale=100)
    axes.set(title="Validation accuracy", ylabel="Accuracy (%)")
    return figure


def _comparison(
    where: str, histories: Mapping[str, Columns], column: str, batches_per_epoch: int, scale: float = 1
) -> tuple[Figure, Axes]:
    """One column of several runs as lines."""
    columns = {name: history.get(column, ()) for name, history in histories.items()}
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    iterations = {"iteration": next(iter(histories.values()), {}).get("iteration", ())}
    draw_curves(axes, where, {**columns, **iterations}, {name: name for name in columns}, scale, batches_per_epoch)
    return figure, axes


def draw_curves(
    axes: Axes,
    where: str,
    history: Columns,
    labels: Mapping[str, str],
    scale: float = 1,
    batches_per_epoch: int | None = None,
) -> None:
    columns = {name: np.asarray(history.get(name, ()), np.float64) for name in ("iteration", *labels)}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{where}: expected columns of one length, got {lengths}. Record all of them each time.")
    places = columns.pop("iteration") / (batches_per_epoch or 1)
    for name, values in columns.items():
        if np.isfinite(values).any():
            axes.plot(places, scale * values, label=labels[name], markevery=math.ceil(len(places) / 15))
    axes.set_xlabel("Epoch" if batches_per_epoch else "Iteration")
    if axes.lines:
        axes.legend()
        axes.grid(visible=True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    else:
        write_instead(axes, "No values were recorded.")
