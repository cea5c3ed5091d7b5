import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xpnet import plots
from xpnet.cli import train
from xpnet.cli.search import main
from xpnet.runs import RunConfig
from xpnet.runs.settings import flatten, make_run
from xpnet.training.range_test import range_test

QUICK = ["--limit", "200", "--epochs", "2", "--batch-size", "50"]


def flags(digits_folder, tmp_path):
    return ["--data-dir", str(digits_folder), "--out", str(tmp_path / "out"), *QUICK]


def is_plot(path):
    with Image.open(path) as plot:
        return min(plot.size) > 300


def test_a_search_prints_its_trials_and_the_command_of_the_best(digits_folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    common = flags(digits_folder, tmp_path)
    assert main([*common, "--trials", "3", "--hidden", "8", "12,9", "--seed", "4"]) == 0
    printed = capsys.readouterr().out
    assert [int(number) for number in re.findall(r"^trial (\d+) ", printed, re.MULTILINE)] == [0, 1, 2]
    table = re.findall(r"^ +(\d) .* (\d+\.\d\d%) +(?:complete|pruned) +\d", printed, re.MULTILINE)
    assert sorted(number for number, _ in table) == ["0", "1", "2"]
    accuracies = [float(accuracy[:-1]) for _, accuracy in table]
    assert accuracies == sorted(accuracies, reverse=True)
    assert is_plot(tmp_path / "out" / "search.png")
    best, command = re.search(r"^Best: trial \d, validation accuracy (\S+)%.*\n(xpnet .*)$", printed, re.M).groups()
    words = shlex.split(command)
    assert words[:2] == ["xpnet", "train"]
    assert train.main([*words[2:], "--no-plots", "--out", str(tmp_path / "run")]) == 0
    assert f"validation {best}%" in capsys.readouterr().out

    assert main([*common, "--trials", "1", "--hidden", "8", "12,9", "--seed", "4"]) == 0
    assert re.findall(r"^trial (\d+) ", capsys.readouterr().out, re.MULTILINE) == ["3"]


def test_a_search_of_which_every_trial_diverges_fails(digits_folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    common = [*flags(digits_folder, tmp_path), "--trials", "2", "--hidden", "8", "--sampler", "grid", "--dropout", "0"]
    assert main([*common, "--weight-decay", "0", "--lr", "1e30", "1e38"]) == 1
    printed = capsys.readouterr().out
    assert len(re.findall(r"^trial \d .* diverged$", printed, re.MULTILINE)) == 2
    assert "No trial was completed." in printed
    assert main([*common, "--weight-decay", "0", "--lr", "0.1", "1e38", "--study", "one of two"]) == 0
    assert "diverged" in capsys.readouterr().out


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory):
    """Thirty images of each of two classes, of different sizes."""
    folder, rng = tmp_path_factory.mktemp("images with, a comma"), np.random.default_rng(0)
    for name in ("stripes", "spots"):
        (folder / name).mkdir()
        for number in range(30):
            pixels = rng.integers(0, 256, (20 + number % 5, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "resnet18", "--stem", "small"],
        ["--model", "mlp", "--batch-norm", "--activation", "tanh", "--weight-init", "glorot"],
    ],
)
def test_model_options_and_image_size_are_those_of_every_trial_and_of_the_command(
    images_folder, tmp_path, capsys, monkeypatch, options
):
    pytest.importorskip("optuna")
    begun, make = [], RunConfig.make_trainer
    monkeypatch.setattr(RunConfig, "make_trainer", lambda run, *rest: begun.append(run) or make(run, *rest))
    where = ["--data", "folder", "--data-dir", str(images_folder), "--image-size", "8", "12"]
    short = ["--limit", "40", "--epochs", "1", "--batch-size", "20", "--lr", "0.001", "0.01", "--trials", "1"]
    assert main([*options, *where, *short, "--out", str(tmp_path)]) == 0
    best, command = re.search(r"accuracy (\S+)%. Repeat it with\n(xpnet .*)$", capsys.readouterr().out, re.M).groups()
    assert (
        train.main([*shlex.split(command)[2:], "--no-plots", "--no-malloc-tuning", "--out", str(tmp_path / "r")]) == 0
    )
    assert f"validation {best}%" in capsys.readouterr().out
    *_, trial, repeated = begun
    assert trial.image_size == repeated.image_size == (8, 12)
    names = [flag[2:].replace("-", "_") for flag in options[2:] if flag.startswith("--")]
    assert trial.model_options.keys() >= set(names)
    ours, theirs = flatten(trial), flatten(repeated)
    elsewhere = {"threads", "tune_malloc", "hidden"}  # the last: a list or a tuple of the same
    assert {name for name in ours if ours[name] != theirs[name]} <= elsewhere
    assert list(ours["hidden"] or ()) == list(theirs["hidden"] or ())


def test_settings_that_do_not_fit_begin_no_study(digits_folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    common = ["--data-dir", str(digits_folder), "--out", str(tmp_path), "--epochs", "1", "--trials", "1"]
    assert main([*common, "--limit", "400"]) == 2
    assert "expected --limit to be at most 360" in capsys.readouterr().err
    assert main([*common, "--limit", "360"]) == 0


def test_a_grid(digits_folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    grid = ["--sampler", "grid", "--lr", "0.1", "0.3", "--weight-decay", "0", "--dropout", "0", "--hidden", "8", "9"]
    for trials, waiting in ((3, True), (3, False)):
        assert main([*flags(digits_folder, tmp_path), *grid, "--trials", str(trials)]) == 0
        printed = capsys.readouterr().out
        assert ("Waiting trials: 1" in printed) is waiting
    assert len(re.findall(r"^ +\d .* (?:complete|pruned) +\d", printed, re.MULTILINE)) == 4


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_stopped_search_leaves_a_usable_study(digits_folder, tmp_path, capsys, number, code, name):
    pytest.importorskip("optuna")
    common = [*flags(digits_folder, tmp_path), "--hidden", "8"]
    # A shell lets what it starts in the background ignore Ctrl-C, and so would the program.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from xpnet.cli.search import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *common, "--trials", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 1 "):
            break
    process.send_signal(number)
    printed, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (code, "")
    assert f"{name}: the study keeps its trials" in printed
    assert "Best: trial" in printed
    assert "killed" not in printed
    assert main([*common, "--trials", "2"]) == 0
    assert "Best: trial" in capsys.readouterr().out


def test_a_search_says_how_many_trials_were_killed_or_run_elsewhere(digits_folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    grid = ["--sampler", "grid", "--lr", "0.1", "0.3", "--weight-decay", "0", "--dropout", "0", "--hidden", "8"]
    command = [*flags(digits_folder, tmp_path), *grid]
    program = "import os, sys; from xpnet.cli import search; from xpnet.training import Trainer\n"
    program += "Trainer.step = lambda *_, **__: os.kill(os.getpid(), 9); search.main()"
    assert subprocess.run([sys.executable, "-c", program, *command]).returncode == -signal.SIGKILL
    for _ in range(2):
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert "Best: trial 1" in printed
        assert "killed: 1, shown as running." in printed


def test_without_optuna_one_line_names_the_extra(digits_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(flags(digits_folder, tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert 'pip install "xpnet[search]"' in error


def test_an_optuna_that_is_there_but_fails_says_so(digits_folder, tmp_path, capsys, broken):
    broken("optuna", ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy"))
    assert main(flags(digits_folder, tmp_path)) == 2
    expected = "error: optuna: is installed but lacks sqlalchemy. Install that, or reinstall it.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "Search: expected --trials to be"),
        (["--lr", "0.1", "-1"], "finite --lr of at least 0, got -1"),
        (["--weight-decay", "nan"], "finite --weight-decay"),
        (["--dropout", "0", "1"], "Dropout: expected p"),
        (["--hidden", "100x100"], "Topology: expected units of each hidden layer such as 100,100, got '100x100'"),
        (["--hidden", "100,0"], "expected units"),
        (["--hidden", "1000000000000000000000"], "expected a shape that fits into memory"),
        (["--model", "lenet5", "--dropout", "0.1"], "Search: expected no --dropout"),
        (["--limit", "0"], "expected --limit to be"),
        (["--lr-range-test", "--lr", "0.1"], "expected rates with 0 < low < high, got 0.1 and 0.1"),
        (["--lr-range-test", "--dropout", "0.1", "0.2"], "Search: expected one value of --dropout"),
        (["--dropout-vs-l2", "--lr", "0.1", "0.2"], "Search: expected one value of --lr"),
        (["--dropout-vs-l2", "--model", "lenet5"], "expected no options, got --dropout"),
        (["--lr-range-test", "--stem", "small"], "Model 'mlp': expected options of hidden, "),
        (["--image-size", "28", "28"], "expected no image size for mnist"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(digits_folder, tmp_path, capsys, arguments, message):
    assert main([*flags(digits_folder, tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_the_range_test_prints_and_draws_a_rate(digits_folder, tmp_path, capsys):
    assert main([*flags(digits_folder, tmp_path), "--lr-range-test", "--lr", "1", "1e8", "--hidden", "12"]) == 0
    printed = capsys.readouterr().out
    lowest, suggestion = re.search(r"lowest, \S+, at (\S+)\.\n.*--lr (\S+)$", printed, re.MULTILINE).groups()
    assert float(suggestion) == pytest.approx(float(lowest) / 10, rel=0.06)
    assert is_plot(tmp_path / "out" / "lr_range_test.png")


@pytest.mark.parametrize("rates", [["0.0001", "0.01"], ["0.0001", "100"]])  # still falling; 200 images by heart
def test_a_range_test_whose_loss_never_explodes_suggests_nothing(digits_folder, tmp_path, capsys, rates):
    assert main([*flags(digits_folder, tmp_path), "--lr-range-test", "--lr", *rates]) == 0
    first, said, drawn = capsys.readouterr().out.splitlines()
    assert first.startswith("300 of 300 iterations")
    assert said.startswith("The loss had not exploded at the highest rate, so no rate is suggested. ")
    assert drawn.startswith("The plot is in ")
    assert is_plot(tmp_path / "out" / "lr_range_test.png")


def test_a_loss_that_is_no_longer_finite_has_exploded(digits_folder):
    from xpnet import datasets

    run, digits = make_run("mlp", epochs=1, batch_size=50, optimizer="sgd"), datasets.load("mnist", digits_folder)
    test = range_test(run.make_network(digits), digits, run.train, 0.01, 1e38, 3)
    assert test.losses[2] == test.smoothed[2] == np.inf
    assert test.smoothed[1] < 4 * test.smoothed[0]
    assert test.suggestion == test.rate_of_lowest_loss / 10


def test_the_range_test_is_a_training_at_growing_rates(digits_folder):
    from xpnet import datasets

    digits = datasets.load("mnist", digits_folder)
    run = make_run("mlp", epochs=1, batch_size=50, optimizer="sgd", dtype="float64")
    test = range_test(run.make_network(digits), digits, run.train, 0.001, 1000.0, 7)
    rates = [0.001, 0.01, 0.1, 1, 10, 100, 1000]
    assert test.rates == pytest.approx(rates[: len(test.rates)])
    assert len(test.rates) < 7  # it ends where the loss has grown fourfold
    trainer = run.make_trainer(digits)
    theta, losses = np.array(trainer.network.theta), []
    scale, network = trainer.network.state, trainer.network
    for step, rate in enumerate(test.rates):
        images, labels, _ = trainer.data.feed.batch(step)
        loss, gradient, _, _ = network.loss_and_gradient(theta, scale, images.astype(np.float64), labels)
        theta = theta - rate * gradient
        losses.append(float(loss))
    assert test.losses == pytest.approx(losses, rel=1e-9)
    weights = [[0.9 ** (t - k) for k in range(t + 1)] for t in range(len(losses))]
    assert test.smoothed == pytest.approx([np.dot(w, losses[: len(w)]) / np.sum(w) for w in weights])
    assert test.suggestion == test.rates[int(np.argmin(test.smoothed))] / 10


def test_dropout_and_l2_side_by_side(digits_folder, tmp_path, capsys, monkeypatch):
    epochs, draw = [], plots.regularization
    monkeypatch.setattr(plots, "regularization", lambda *given: epochs.append(given[0]) or draw(*given))
    strengths = ["--weight-decay", "0.01", "10", "--dropout", "0.2", "0.9"]
    assert (
        main([*flags(digits_folder, tmp_path), "--dropout-vs-l2", "--hidden", "12", *strengths, "--epochs", "9"]) == 0
    )
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^ (none|L2, λ = \S+|dropout, p = \S+) +(\d+\.\d+)% .*% to ", printed, re.MULTILINE))
    assert list(rows) == ["none", "L2, λ = 0.01", "L2, λ = 10", "dropout, p = 0.2", "dropout, p = 0.9"]
    assert float(rows["none"]) > float(rows["L2, λ = 10"]) + 20
    assert float(rows["none"]) > float(rows["dropout, p = 0.9"]) + 20
    assert is_plot(tmp_path / "out" / "dropout_vs_l2.png")
    assert epochs == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_help_is_for_newcomers(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for default in ("default: mlp", "default: 5000", "0.003 0.01 0.03", "default: 20"):
        assert default in text
