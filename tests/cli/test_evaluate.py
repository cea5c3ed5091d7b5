import json
import shutil

import pytest

from tests.helpers import files_of_at_most
from xpnet.cli.evaluate import main
from xpnet.network import Network


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished_run[0], tmp_path / "run")


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_every_backend_gives_the_figures_of_the_run(run_folder, capsys, backend):
    if backend != "numpy":
        pytest.importorskip(backend, exc_type=ImportError)
    assert main([str(run_folder), "--backend", backend]) == 0
    summary = json.loads((run_folder / "summary.json").read_text())
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    assert evaluation["backend"] == backend
    for figure in ("test_accuracy", "confusion_matrix", "precision", "recall"):
        assert evaluation[figure] == summary[figure]
    assert evaluation["test_loss"] == pytest.approx(summary["test_loss"], abs=1e-5)
    printed = capsys.readouterr().out
    assert printed.startswith(f"mnist_starter of {run_folder} on mnist, {backend} ")
    assert f"Test accuracy {summary['test_accuracy']:.2%}" in printed
    assert "Confusion matrix" in printed


def test_a_folder_that_cannot_be_written_costs_no_more_than_a_warning(run_folder, capsys):
    """What was asked for is printed."""
    with files_of_at_most(100):
        assert main([str(run_folder)]) == 0
    printed, error = capsys.readouterr()
    assert "Test accuracy" in printed
    assert error.startswith(f"warning: {run_folder / 'evaluation.json'}: cannot be written (File too large).")
    assert error.count("\n") == 1
    assert not (run_folder / "evaluation.json").exists()


def test_other_data(run_folder):
    """The bundled test set instead of the 100 images of the run."""
    config = json.loads((run_folder / "config.json").read_text())
    (run_folder / "config.json").write_text(json.dumps({**config, "data_dir": None}))
    assert main([str(run_folder), "--data", "mnist"]) == 0
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    assert sum(map(sum, evaluation["confusion_matrix"])) == 10_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no config.json"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "no weights.safetensors"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"abc"), "weights.safetensors: not a readable"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: expected the settings"),
        (lambda folder: (folder / "config.json").write_text('{"version": 2, "model": "mlp", "colour": 1}'), "colour"),
        (lambda folder: (folder / "config.json").write_text('{"model": "mlp"}'), "got 1"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: expected the settings"),
    ],
)
def test_a_damaged_run_gives_one_line_and_exit_code_2(run_folder, capsys, damage, message):
    damage(run_folder)
    assert main([str(run_folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_weights_too_large_for_a_finite_loss_give_one_line_and_exit_code_2(run_folder, capsys):
    network = Network.load(run_folder / "weights.safetensors")
    network.theta = network.theta * 1e37
    network.save(run_folder / "weights.safetensors")
    assert main([str(run_folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: {run_folder / 'weights.safetensors'}: expected weights that give a finite loss, got"
    )


def test_data_of_another_shape_is_refused(run_folder, capsys, monkeypatch):
    import numpy as np

    from xpnet import datasets

    images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32)
    other = datasets.Dataset("other", images, labels, images, labels, ("a",))
    monkeypatch.setattr(datasets, "load", lambda *arguments: other)
    assert main([str(run_folder)]) == 2
    assert "expected images (28, 28, 1) of 10 classes, got (32, 32, 3) of 1 in other" in capsys.readouterr().err
