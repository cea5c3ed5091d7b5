"""The flags of ``train`` are what the objects of a run can say, and nothing else."""

import dataclasses
import os
import subprocess
import sys

import pytest

from xpnet.cli.main import COMMANDS
from xpnet.cli.train_flags import command_of, make_parser, settings_of
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.losses import CLASS_LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs import RunConfig
from xpnet.runs.settings import (
    AUGMENTATION,
    EARLY_STOPPING,
    FIELDS,
    LOSS,
    MIXING,
    MODEL_OPTIONS,
    OPTIMIZER,
    RUN,
    RUNTIME,
    SCHEDULE,
    SETTINGS,
    TRAIN,
    change,
    flatten,
    make_run,
)
from xpnet.runtime import Runtime
from xpnet.schedules import SCHEDULES, Warmup
from xpnet.training import CutMix, EarlyStopping, Mixup, TrainConfig

# Of the command itself: what it prints, writes and looks for while a run goes.
OF_THE_COMMAND = {
    *("help", "help_all", "out", "resume", "no_plots", "quiet", "log_file", "log_level", "tensorboard"),
    *("checkpoint_every", "checkpoint_minutes", "keep", "detect_nonfinite"),
}
NO_FLAG = {
    ("TrainConfig", "optimizer"): "--optimizer and its settings",
    ("TrainConfig", "schedule"): "--schedule and its settings",
    ("TrainConfig", "loss"): "--loss and its settings",
    ("TrainConfig", "augmentation"): "--crop-padding, --flip, --cutout",
    ("TrainConfig", "mixing"): "--mixup, --cutmix",
    ("TrainConfig", "early_stopping"): "--early-stopping, --min-delta",
    ("RunConfig", "model"): "--model",
    ("RunConfig", "train"): "all of TrainConfig",
    ("RunConfig", "runtime"): "all of Runtime",
    ("RunConfig", "model_options"): "--hidden and the others of a model",
    ("Cosine", "steps"): "a command's cosine ends with its run",
    ("Warmup", "then"): "--schedule",
    ("SoftmaxCrossEntropy", "class_weights"): "--class-weight",
    ("Focal", "class_weights"): "--class-weight",
}


def test_every_setting_has_a_flag_and_every_flag_a_setting():
    assert make_parser("train").spellings().keys() - OF_THE_COMMAND == set(SETTINGS)
    assert len(SETTINGS) == len(set(SETTINGS))


@pytest.mark.parametrize(
    ("kind", "reachable"),
    [
        (TrainConfig, TRAIN),
        (Runtime, RUNTIME),
        (RunConfig, RUN),
        (EarlyStopping, EARLY_STOPPING.values()),
        (RandomCrop, FIELDS["RandomCrop"]),
        (Cutout, FIELDS["Cutout"]),
        (HorizontalFlip, ()),
        (Mixup, FIELDS["Mixup"]),
        (CutMix, FIELDS["CutMix"]),
        (Warmup, FIELDS["Warmup"]),
        *((kind, OPTIMIZER.values()) for kind in OPTIMIZERS.values()),
        *((kind, SCHEDULE.values()) for kind in SCHEDULES.values()),
        *((kind, LOSS.values()) for kind in CLASS_LOSSES.values()),
    ],
)
def test_every_field_of_an_object_can_be_said(kind, reachable):
    fields = {field.name for field in dataclasses.fields(kind)}
    assert {name for name in fields if name not in reachable} == {name for k, name in NO_FLAG if k == kind.__name__}


def test_every_setting_is_of_some_object():
    kinds = [TrainConfig, Runtime, RunConfig, EarlyStopping, RandomCrop, Cutout]
    kinds += [*OPTIMIZERS.values(), *SCHEDULES.values(), *CLASS_LOSSES.values()]
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    named = {**OPTIMIZER, **SCHEDULE, **LOSS, **EARLY_STOPPING}
    for setting in (*TRAIN, *RUNTIME, *RUN, *named.values()):
        assert setting in fields
    assert set(SETTINGS) - {*TRAIN, *RUNTIME, *RUN, *named, *MODEL_OPTIONS, *AUGMENTATION, *MIXING} == {
        *("model", "optimizer", "schedule", "loss", "warmup")
    }


RUNS = [
    make_run("mnist_starter"),
    make_run("mlp", hidden=(8, 4), batch_norm=True, dropout=0.25, optimizer="adam", amsgrad=True, learning_rate=0.01),
    make_run("mlp", schedule="step", schedule_every=7, schedule_gamma=0.5, warmup=3, iterations=20, seed=5),
    make_run(
        "cifar10_cnn",
        flip=False,
        crop_padding=0,
        cutout=3,
        decay_biases=False,
        shuffle=False,
        clip_norm=2.0,
        ema=0.99,
        accumulate=2,
        freeze=("a*",),
    ),
    make_run("lenet5", loss="focal", focal_gamma=1.0, early_stopping=4, min_delta=0.01, class_weight="balanced"),
    make_run(
        "mlp", data="folder", data_dir="/data", image_size=(8, 9), normalize=False, validation=0.2, limit=50, mixup=0.2
    ),
    make_run("mlp", mixup=0.2),
    make_run("mlp", cutmix=1.0, label_smoothing=0.1, dtype="float64", threads=2, tune_malloc=False, deterministic=True),
    make_run(
        "mlp", optimizer="momentum", momentum=0.8, momentum_form="nesterov", activation="tanh", weight_init="lecun"
    ),
    make_run("mlp", optimizer="adagrad", lr_decay=0.1, epsilon=1e-6, schedule="plateau", schedule_patience=3, epochs=2),
    make_run(
        "mlp", optimizer="rmsprop", rho=0.8, schedule="cosine", schedule_minimum=0.1, batch_size=7, weight_decay=0.1
    ),
    make_run("mlp", optimizer="adamw", beta1=0.8, beta2=0.9, parallel="mpi", allreduce_dtype="float16"),
    make_run("mlp", sync_batch_norm=False, report_every=9),
    make_run("resnet18", stem="small", crop_padding=2, weights="/w", replace_head=True, measure_training=True),
    make_run("mlp", device="cuda:1", backend="cupy", kernels="cudnn", precision="tf32", graph=True),
]


def test_the_runs_above_say_every_setting():
    said = {name for run in RUNS for name, value in flatten(run).items() if value != flatten(make_run(run.model))[name]}
    assert set(SETTINGS) - said == {"model"}


@pytest.mark.parametrize("run", RUNS)
def test_the_command_of_a_run_repeats_it(run):
    command = command_of(run)
    assert command[:2] == ["xpnet", "train"]
    again = make_run(**settings_of(make_parser("train").parse_args(command[2:])))
    assert flatten(again) == {**flatten(run), "hidden": _listed(run.model_options.get("hidden"))}


def _listed(hidden):
    return hidden if hidden is None else list(hidden)


@pytest.mark.parametrize("run", RUNS)
def test_flat_settings_make_the_run_they_were_taken_from(run):
    assert make_run(**flatten(run)) == run


def test_a_change_reaches_the_optimizer_and_the_models_options():
    run = change(RUNS[1], learning_rate=0.5, dropout=0.1)
    assert (run.train.optimizer.learning_rate, run.model_options["dropout"]) == (0.5, 0.1)
    assert change(run, learning_rate=0.01, dropout=0.25) == RUNS[1]


def test_no_validation_is_0():
    assert make_run("mlp").train.validation == "auto"
    assert make_run("mlp", validation=0).train.validation is None


# How the help looks


def help_of(command, flag="--help", **environment):
    arguments = [sys.executable, "-m", "xpnet", *command.split(), flag]
    environment = {**os.environ, "COLUMNS": "80", **environment}
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.parametrize(
    ("command", "flag"), [*((name, "--help") for name in ("", *COMMANDS)), ("train", "--help-all")]
)
def test_help_fits_80_columns_and_says_how_it_was_called(command, flag):
    lines = help_of(command, flag).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"usage: python -m xpnet {command}".rstrip())
    assert lines[1] == ""  # the usage is one line


def test_the_list_of_commands_fits_a_screen_and_common_flags_of_train_another():
    listed = help_of("").splitlines()
    assert len(listed) <= 24
    for command in COMMANDS:
        assert any(line.startswith(f"  {command} ") for line in listed)
    shown = help_of("train")
    assert len(shown.splitlines()) <= 40
    for flag in [
        "--model",
        "--data",
        "--epochs",
        "--iterations",
        "--batch-size",
        "--lr",
        "--optimizer",
        "--device",
        "--out",
        "--resume",
        "--seed",
    ]:
        assert f"  {flag} " in shown


def test_train_shows_everyday_flags_and_names_the_others_groups():
    parser = make_parser("train")
    short, full = parser.format_help(), parser.format_full_help()
    _, everyday, *others = [group for group in parser._action_groups if group._group_actions]
    for group in others:
        assert f"\n  {group.title} " in short
        assert f"\n{group.title}:\n" in full
        for action in group._group_actions:
            assert action.option_strings[0] in full
            assert f"  {action.option_strings[0]} " not in short
    assert {"--parallel", "--allreduce-dtype", "--sync-batch-norm"} == _flags_under(parser, "several processes")
    assert len(everyday._group_actions) <= 12


def _flags_under(parser, title):
    (group,) = [group for group in parser._action_groups if group.title == title]
    return {action.option_strings[0] for action in group._group_actions}


def test_help_on_a_full_disk_fails():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    for command in ("", "train", "evaluate"):
        arguments = [sys.executable, "-m", "xpnet", *command.split(), "--help"]
        with open("/dev/full", "w", encoding="utf-8") as full:
            ended = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
