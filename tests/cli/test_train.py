import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import matplotlib.image
import numpy as np
import pytest

import xpnet
from xpnet import kernels, plots
from xpnet.cli.train import main
from xpnet.datasets import split_indices
from xpnet.kernels import sharing
from xpnet.runs.folder import RunFolder
from xpnet.runs.settings import flatten
from xpnet.training import Record
from xpnet.training.history import column_name

SUMMARY_KEYS = {
    "model",
    "data",
    "device",
    "backend",
    "seed",
    "parameters",
    "iterations",
    "batch_size",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "test_loss",
    "confusion_matrix",
    "precision",
    "recall",
    "seconds",
    "images_per_second",
    "versions",
}

SPELLED_OUT = """
    --model --data --data-dir --device --backend --iterations --epochs --batch-size --lr --momentum --momentum-form
    --weight-decay --seed --dtype --limit --out --no-plots --quiet --optimizer --decay-biases --no-decay-biases
    --clip-norm --lr-decay --rho --beta1 --beta2 --epsilon --amsgrad --schedule --schedule-every --schedule-gamma
    --schedule-minimum --schedule-patience --warmup --early-stopping
    --hidden --activation --dropout --batch-norm --weight-init --stem --weights --replace-head --freeze
    --report-every --measure-training --flip --no-flip
    --resume --checkpoint-every --checkpoint-minutes --keep --log-file --log-level --tensorboard --detect-nonfinite
"""


def read_history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_run_folder_is_complete(finished_run):
    folder, _ = finished_run
    summary = json.loads((folder / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert (summary["model"], summary["data"], summary["device"], summary["backend"]) == (
        "mnist_starter",
        "mnist",
        "cpu",
        "numpy",
    )
    assert (summary["parameters"], summary["iterations"], summary["batch_size"]) == (14_682, 150, 16)
    assert summary["versions"]["xpnet"] == xpnet.__version__
    assert summary["test_accuracy"] > 0.6  # six times what guessing gives; the figures themselves are tested elsewhere
    confusion = np.array(summary["confusion_matrix"])
    assert np.trace(confusion) / confusion.sum() == summary["test_accuracy"]
    assert confusion.sum(axis=1).tolist() == np.bincount(xpnet.datasets.load("mnist").test_targets[:100]).tolist()

    rows = read_history(folder)
    assert [int(row["iteration"]) for row in rows] == [100, 150]
    assert list(rows[0]) == [column_name(field, "accuracy") for field in Record._fields]
    assert float(rows[-1]["validation_accuracy"]) == summary["validation_accuracy"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    for plot in ("loss", "accuracy", "error_rate", "filters", "misclassified", "confusion_matrix"):
        height, width, _ = matplotlib.image.imread(folder / "plots" / f"{plot}.png").shape
        assert min(height, width) > 300


def test_what_is_printed(finished_run):
    folder, printed = finished_run
    for expected in (
        "mnist_starter on mnist, numpy",
        "360 training images, 150 iterations of 16 images",  # 400 less a tenth for validation
        "14,682",
        "28 x 28 x 16",
        "iteration 150  loss",
        "Confusion matrix",
        "precision",
        "Test accuracy",
        "of 100 images",
        str(folder),
    ):
        assert expected in printed
    assert "\x1b" not in printed  # no terminal, so no colours


def test_weights_are_those_of_the_run(finished_run):
    folder, _ = finished_run
    network = xpnet.Network.load(folder / "weights.safetensors")
    mnist = xpnet.datasets.load("mnist")
    predicted = network.predict(mnist.test_inputs[:100])
    summary = json.loads((folder / "summary.json").read_text())
    assert np.mean(predicted == mnist.test_targets[:100]) == summary["test_accuracy"]


def test_config_repeats_the_run(finished_run, tmp_path):
    folder, _ = finished_run
    config = RunFolder.open(folder).read_config()
    trainer = config.make_trainer()
    for record, row in zip(trainer.run(), read_history(folder), strict=True):
        names = [name for name in Record._fields if name != "seconds"]
        columns = [column_name(name, "accuracy") for name in names]
        assert [getattr(record, name) for name in names] == [float(row[name]) for name in columns]


def test_quiet_prints_nothing_and_no_plots_draws_none(digits_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ["--iterations", "2", "--quiet", "--no-plots", "--batch-size", "4", "--seed", "5", "--lr", "0.01"]
    assert main(["--data-dir", str(digits_folder), "--out", str(folder), *flags]) == 0
    assert capsys.readouterr() == ("", "")
    assert not (folder / "plots").exists()
    config = json.loads((folder / "config.json").read_text())
    train = config["train"]
    assert (train["batch_size"], train["seed"], train["optimizer"]["learning_rate"]) == (4, 5, 0.01)


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (["--momentum-form", "nesterov", "--momentum", "0.5"], {"momentum_form": "nesterov", "momentum": 0.5}),
        (
            ["--optimizer", "sgd"],
            {"learning_rate": 0.1, "momentum": None},
        ),
        (["--optimizer", "adagrad", "--lr-decay", "0.1"], {"learning_rate": 0.01, "lr_decay": 0.1, "epsilon": 1e-10}),
        (["--optimizer", "rmsprop", "--rho", "0.9", "--lr", "0.001"], {"learning_rate": 0.001, "rho": 0.9}),
        (
            ["--optimizer", "adam", "--beta1", "0.8", "--beta2", "0.99", "--epsilon", "1e-7", "--amsgrad"],
            {"learning_rate": 0.001, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-7, "amsgrad": True},
        ),
        (["--optimizer", "adamw", "--weight-decay", "0.1"], {"weight_decay": 0.1, "amsgrad": False}),
        (["--no-decay-biases", "--clip-norm", "2"], {"decay_biases": False, "clip_norm": 2.0}),
        (["--decay-biases", "--warmup", "1"], {"decay_biases": True, "clip_norm": None, "warmup": 1}),
        (["--schedule", "step", "--schedule-every", "2"], {"schedule_every": 2, "schedule_gamma": 0.1}),
        (
            ["--schedule", "cosine", "--schedule-minimum", "0.1"],
            {"schedule_minimum": 0.1},
        ),
        (["--schedule", "plateau", "--schedule-patience", "3", "--schedule-gamma", "0.5"], {"schedule_patience": 3}),
        (["--early-stopping", "4"], {"early_stopping": 4}),
        (["--report-every", "1", "--measure-training"], {"report_every": 1, "measure_training": True}),
        (["--flip"], {"flip": True, "report_every": 100, "measure_training": False}),
        (["--no-flip"], {"flip": False}),
        (["--validation", "0"], {"validation": None}),
        (["--validation", "0.25", "--normalize", "no"], {"validation": 0.25, "normalize": False}),
        (["--loss", "focal", "--focal-gamma", "1.5"], {"loss": "focal", "focal_gamma": 1.5}),
        (["--class-weight", "balanced", "--no-malloc-tuning"], {"class_weight": "balanced", "tune_malloc": False}),
    ],
)
def test_flags_become_settings(digits_folder, tmp_path, flags, settings):
    folder = tmp_path / "run"
    short = ["--iterations", "2", "--batch-size", "4", "--quiet", "--no-plots"]
    assert main(["--data-dir", str(digits_folder), "--out", str(folder), *short, *flags]) == 0
    config = flatten(RunFolder.open(folder).read_config())
    assert {name: config[name] for name in settings} == settings


def test_the_history_has_the_learning_rate_in_effect(digits_folder, tmp_path):
    flags = ["--iterations", "250", "--batch-size", "1", "--schedule", "inverse-time", "--schedule-every", "99"]
    flags += ["--lr", "0.01", "--quiet", "--no-plots", "--out", str(tmp_path / "run")]
    assert main(["--data-dir", str(digits_folder), *flags]) == 0
    rows = read_history(tmp_path / "run")
    assert list(rows[0])[-1] == "learning_rate"
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx([0.01 / (1 + step / 99) for step in (99, 199, 249)])


def test_error_rates_are_drawn_against_epochs(digits_folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "error_rate_curves", lambda *given: drawn.append(given) or plots.loss_curves(given[0]))
    flags = ["--iterations", "2", "--batch-size", "40", "--quiet", "--out", str(tmp_path / "run")]
    assert main(["--data-dir", str(digits_folder), *flags]) == 0
    (history, batches_per_epoch), of_report = drawn
    assert of_report == (history, batches_per_epoch)
    assert history["iteration"] == [2]
    assert batches_per_epoch == 9  # 360 images


@pytest.mark.parametrize(
    ("length", "unit"), [(["--iterations", "2"], None), (["--epochs", "1"], 9), (["--model", "mlp"], 9)]
)
def test_accuracy_and_loss_are_drawn_against_what_the_length_is_given_in(
    digits_folder, tmp_path, monkeypatch, length, unit
):
    drawn = []
    for name in ("accuracy_curves", "loss_curves"):
        draw = getattr(plots, name)
        monkeypatch.setattr(plots, name, lambda *given, draw=draw: drawn.append(given[-1]) or draw(*given))
    flags = ["--data-dir", str(digits_folder), "--batch-size", "40", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*flags, *length]) == 0
    assert drawn == [unit, unit]


def test_early_stopping_saves_the_best_weights(digits_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ["--iterations", "5000", "--batch-size", "2", "--early-stopping", "1", "--no-plots", "--seed", "1"]
    assert main(["--data-dir", str(digits_folder), "--out", str(folder), *flags]) == 0
    rows, summary = read_history(folder), json.loads((folder / "summary.json").read_text())
    accuracies = [float(row["validation_accuracy"]) for row in rows]
    assert len(rows) < 50
    assert accuracies[-1] <= accuracies[-2] == max(accuracies) == summary["validation_accuracy"]
    assert summary["iterations"] - 100 == summary["weights_of_iteration"] == int(rows[-2]["iteration"])
    assert f"iteration {summary['weights_of_iteration']}; kept." in capsys.readouterr().out

    mnist, (_, validation) = xpnet.datasets.load("mnist"), split_indices(400, 40, seed=1)
    predicted = xpnet.Network.load(folder / "weights.safetensors").predict(mnist.train_inputs[validation])
    assert np.mean(predicted == mnist.train_targets[validation]) == max(accuracies)


def test_default_folder_is_named_by_time_and_model(digits_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--data-dir", str(digits_folder), "--iterations", "1", "--no-plots", "--quiet"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    stamp = time.strptime(folder.name, "%Y%m%d-%H%M%S-mnist_starter")
    assert abs(time.mktime(stamp) - time.time()) < 600


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "resnet9"], "Model: expected one of alexnet"),
        (["--hidden", "100"], "Model 'mnist_starter': expected no options, got --hidden"),
        (["--batch-norm"], "got --batch-norm"),
        (["--model", "mlp", "--stem", "small"], "Model 'mlp': expected options of hidden, activation,"),
        (["--model", "mlp", "--hidden", "100", "0"], "expected units"),
        (["--model", "mlp", "--hidden", "99999999999999999999"], "expected a shape that fits into memory"),
        (["--model", "mlp", "--dropout", "1"], "Dropout: expected p"),
        (["--crop-padding", "2000000000"], "--crop-padding"),
        (["--crop-padding", "28"], "--crop-padding"),
        (["--cutout", "100"], "--cutout"),
        (["--data", "imagenet"], "imagenet"),
        (["--data", "cifar10"], "--data-dir"),
        (["--data-dir", "no/such/folder"], "train-images-idx3-ubyte"),
        (["--batch-size", "0"], "--batch-size"),
        (["--limit", "361"], "at most 360"),
        (["--iterations", "-3"], "iterations"),
        (["--momentum", "1.1"], "grows without bound"),
        (["--optimizer", "adam", "--momentum", "0.5"], "no --momentum with the optimizer adam, got 0.5"),
        (["--amsgrad"], "no --amsgrad with the optimizer momentum, got True"),
        (["--optimizer", "adam", "--beta1", "1"], "expected a --beta1 in [0, 1)"),
        (["--optimizer", "rmsprop", "--epsilon", "0"], "RMSProp: expected a finite --epsilon above 0"),
        (["--optimizer", "adagrad", "--lr-decay", "-1"], "AdaGrad: expected a finite --lr-decay"),
        (["--clip-norm", "0"], "Clipping: expected a finite --clip-norm above 0"),
        (["--schedule", "exponential"], "--schedule-every"),
        (["--schedule-patience", "3"], "no --schedule-patience with the schedule constant"),
        (["--warmup", "3000"], "3000 iterations"),
        (["--epochs", "1", "--warmup", "23"], "23 iterations"),
        (["--early-stopping", "0"], "--early-stopping"),
        (["--min-delta", "0.1"], "expected --early-stopping"),
        (["--validation", "400"], "400"),
        (["--validation", "-1"], "--validation"),
        (["--device", "cuda", "--backend", "numpy"], "NumPy computes on the CPU"),
        (["--device", "gpu"], "cpu, cuda, cuda:N, mps, auto"),
        (["--seed", "-1"], "Seed"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(digits_folder, tmp_path, capsys, flags, message):
    assert main(["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), *flags]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run").exists()


def test_model_options_are_recorded_and_repeat_the_run(digits_folder, tmp_path):
    folder = tmp_path / "run"
    flags = ["--data-dir", str(digits_folder), "--out", str(folder), "--iterations", "20", "--quiet", "--no-plots"]
    flags += ["--model", "mlp", "--hidden", "12", "8", "--activation", "tanh", "--dropout", "0.2", "--batch-norm"]
    assert main([*flags, "--weight-init", "glorot"]) == 0
    config = RunFolder.open(folder).read_config()
    assert config.model_options == {
        "hidden": (12, 8),
        "activation": "tanh",
        "dropout": 0.2,
        "batch_norm": True,
        "weight_init": "glorot",
    }
    trainer = config.make_trainer()
    kinds = ["Dense", "BatchNorm", "Tanh", "Dropout"]
    assert [row.kind for row in trainer.network.layer_info()] == ["Normalize", "Flatten", *kinds, *kinds, "Dense"]
    (record,) = trainer.run()
    (row,) = read_history(folder)
    assert record.total_loss == float(row["total_loss"])
    loaded = xpnet.Network.load(folder / "weights.safetensors")
    assert np.array_equal(loaded.theta, trainer.network.theta)


def test_checkpoints_of_another_run_are_not_mixed_with_a_new_ones(tmp_path, digits_folder, capsys):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "iteration-000009999.safetensors").write_bytes(b"")
    assert main(["--out", str(tmp_path / "run"), "--data-dir", str(digits_folder)]) == 2
    assert "found checkpoints of an earlier run" in capsys.readouterr().err


def test_a_run_is_never_overwritten(finished_run, digits_folder, capsys):
    folder, _ = finished_run
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(["--data-dir", str(digits_folder), "--out", str(folder)]) == 2
    assert "of an earlier run" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_file_in_place_of_the_folder_is_bad_input(digits_folder, tmp_path, capsys):
    (tmp_path / "run").write_text("")
    assert main(["--data-dir", str(digits_folder), "--out", str(tmp_path / "run")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_divergence_ends_with_exit_code_1_and_keeps_what_was_written(digits_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["--data-dir", str(digits_folder), "--out", str(folder), "--lr", "1e20"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "in iteration" in error
    assert RunFolder(folder).read_config().train.optimizer.learning_rate == 1e20
    assert read_history(folder) == []
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
@pytest.mark.parametrize("more", [[], ["--detect-nonfinite"]], ids=["loss", "step"])
def test_a_weight_decay_too_large_is_blamed_itself(digits_folder, tmp_path, capsys, optimizer, more):
    flags = ["--model", "mlp", "--optimizer", optimizer, "--weight-decay", "1e20", *more]
    assert main(["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), *flags]) == 1
    error = capsys.readouterr().err
    assert "Try --weight-decay 0.0001." in error
    assert more or "a weight decay (1e+20) that is too large for the learning rate (" in error


def test_a_file_in_the_place_of_the_plots_costs_the_plots_alone(digits_folder, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "plots").write_text("")
    assert main(["--data-dir", str(digits_folder), "--out", str(run), "--iterations", "2"]) == 2
    printed, error = capsys.readouterr()
    assert error == (
        f"error: Plot {run / 'plots' / 'loss.png'}: expected {run / 'plots'} to be a folder, found a file. "
        "Move it, or choose another place.\n"
    )
    assert "Test accuracy" in printed
    assert (run / "summary.json").exists()


def test_a_schedule_that_grows_beyond_all_numbers_diverges(digits_folder, tmp_path, capsys):
    flags = ["--schedule", "step", "--schedule-every", "1", "--schedule-gamma", "1e300"]
    assert main(["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), *flags]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "in iteration 3" in error


def test_detect_nonfinite_names_the_layer(digits_folder, tmp_path, capsys):
    flags = ["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), "--lr", "1e20", "--detect-nonfinite"]
    assert main(flags) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "in iteration 2, Dense 'dense1': its output is the first that is not finite. Try --lr 1e+19." in error


def test_ctrl_c_leaves_a_usable_run(digits_folder, tmp_path):
    folder = tmp_path / "run"
    program = "import sys; from xpnet.cli.train import main; sys.exit(main())"
    flags = ["--data-dir", str(digits_folder), "--iterations", "1000000", "--out", str(folder), "--no-plots"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("iteration"):
            break
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert "Ctrl-C" in printed
    assert "Test accuracy" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert summary["iterations"] == int(read_history(folder)[-1]["iteration"])
    assert xpnet.Network.load(folder / "weights.safetensors").parameter_count == 14_682


def test_help_is_for_newcomers(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help-all"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in SPELLED_OUT.split():
        assert flag in text


@pytest.mark.parametrize(
    "flags",
    [["--backend", "tensorflow"], ["--batch-size", "abc"], ["--epochs", "1", "--iterations", "1"], ["--lrr", "1"]],
)
def test_flags_that_cannot_be_read_give_one_line(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_runs_that_begin_in_the_same_second_get_folders_of_their_own(digits_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260131-120000")
    for _ in range(2):
        assert main(["--data-dir", str(digits_folder), "--iterations", "1", "--no-plots", "--quiet"]) == 0
    names = {folder.name for folder in (tmp_path / "runs").iterdir()}
    assert names == {"20260131-120000-mnist_starter", "20260131-120000-mnist_starter-2"}


def test_names_in_brackets_are_printed_as_they_are(digits_folder, tmp_path, capsys):
    folder = tmp_path / "run[lr=1][/x]"
    assert main(["--data-dir", str(digits_folder), "--iterations", "1", "--no-plots", "--out", str(folder)]) == 0
    assert str(folder) in capsys.readouterr().out


def test_a_relative_data_folder_is_written_down_in_full(digits_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(digits_folder.parent)
    folder = tmp_path / "run"
    flags = ["--data-dir", digits_folder.name, "--iterations", "1", "--no-plots", "--quiet", "--out", str(folder)]
    assert main(flags) == 0
    assert json.loads((folder / "config.json").read_text())["data_dir"] == str(digits_folder)


def test_a_device_found_by_itself_is_written_down(digits_folder, tmp_path):
    folder = tmp_path / "run"
    flags = ["--iterations", "1", "--quiet", "--no-plots", "--device", "auto", "--backend", "numpy"]
    assert main(["--data-dir", str(digits_folder), "--out", str(folder), *flags]) == 0
    runtime = RunFolder(folder).read_config().runtime
    assert (runtime.device, runtime.backend) == ("cpu", "numpy")


def test_help_says_what_a_flag_is_without_it(capsys):
    with pytest.raises(SystemExit):
        main(["--help-all"])
    text = " ".join(capsys.readouterr().out.split())
    for default in ("the model's own", "default: mnist_starter", "default: cpu", "default: runs/<time>-<model>"):
        assert default in text
    assert "1/(1-μ) times as" in text


def test_fine_tuning_from_a_run(finished_run, digits_folder, tmp_path, monkeypatch):
    run, _ = finished_run
    monkeypatch.chdir(run.parent)
    folder = tmp_path / "tuned"
    flags = ["--data-dir", str(digits_folder), "--iterations", "3", "--no-plots", "--quiet", "--out", str(folder)]
    assert main([*flags, "--weights", run.name, "--replace-head", "--freeze", "conv*"]) == 0
    config = RunFolder(folder).read_config()
    assert (config.weights, config.replace_head, config.train.freeze) == (str(run), True, ("conv*",))
    old, new = (xpnet.Network.load(path / "weights.safetensors").parameters() for path in (run, folder))
    assert {name for name in old if np.array_equal(old[name], new[name])} == {
        f"conv{number}.{tensor}" for number in (1, 2) for tensor in ("weight", "bias")
    }


def test_threads_and_kernels_are_written_down_and_hold_when_resumed(digits_folder, tmp_path):
    folder = tmp_path / "run"
    flags = ["--data-dir", str(digits_folder), "--iterations", "2", "--quiet", "--no-plots"]
    assert main([*flags, "--out", str(folder), "--threads", "3", "--kernels", "pure"]) == 0
    runtime = RunFolder(folder).read_config().runtime
    assert (runtime.threads, runtime.kernels) == (3, "pure")
    sharing.set_threads(1)
    assert main(["--resume", str(folder), "--quiet", "--no-plots"]) == 0
    assert kernels.in_use() == {"kernels": "pure", "threads": "3"}


def test_threads_stay_behind_where_a_run_moves_to_another_library(digits_folder, tmp_path):
    pytest.importorskip("jax", exc_type=ImportError)
    folder = tmp_path / "run"
    flags = ["--data-dir", str(digits_folder), "--iterations", "2", "--quiet", "--no-plots"]
    assert main([*flags, "--out", str(folder), "--threads", "3"]) == 0
    assert main(["--resume", str(folder), "--quiet", "--no-plots", "--backend", "jax"]) == 0
    assert RunFolder(folder).read_config().runtime.threads is None
