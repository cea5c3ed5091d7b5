"""The comparison of optimizers on a few digits."""

import json

import pytest
from matplotlib.image import imread

from xpnet.cli.compare_optimizers import main
from xpnet.experiments import CONTENDERS


@pytest.fixture(scope="module")
def compare(digits_folder, tmp_path_factory):
    """Run the program with some flags; what it wrote."""

    def run(*flags):
        folder = tmp_path_factory.mktemp("runs") / "run"
        assert main(["--data-dir", str(digits_folder), "--epochs", "2", "--out", str(folder), *flags]) == 0
        return folder, json.loads((folder / "summary.json").read_text())

    return run


def test_all_four_are_trained_tested_and_drawn(compare, capsys):
    folder, summary = compare()
    printed = capsys.readouterr().out
    assert list(summary["test_accuracy"]) == list(CONTENDERS)
    assert len(set(summary["test_accuracy"].values())) > 1
    for name, accuracy in summary["test_accuracy"].items():
        assert accuracy > 0.3  # guessing gives a tenth
        (row,) = [
            line for line in printed.splitlines() if line.split("%")[0].strip().startswith(name) and "epoch" not in line
        ]
        assert row.split()[-2:] == [f"{CONTENDERS[name].published:.2%}", f"{accuracy:.2%}"]
    for plot in ("cost", "accuracy"):
        assert min(imread(folder / "plots" / f"{plot}.png").shape[:2]) > 300


def test_batch_norm_changes_the_network_and_the_seed_all_of_it(compare, capsys):
    (_, plain), (_, normalised), (_, other) = compare(), compare("--batch-norm"), compare("--seed", "1")
    assert plain["test_accuracy"] != normalised["test_accuracy"]
    assert plain["test_accuracy"] != other["test_accuracy"]
    assert "Published with batch normalisation, of one of them: 97.10%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["--epochs", "0"], "epochs"), (["--device", "abacus"], "abacus"), (["--seed", "-1"], "seed")],
)
def test_bad_input_gives_one_line_and_no_folder(digits_folder, tmp_path, capsys, flags, expected):
    assert main(["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "run").exists()
