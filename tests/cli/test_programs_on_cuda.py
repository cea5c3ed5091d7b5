"""The programs on a CUDA device, against the CPU."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.conftest import PRESENT
from xpnet import datasets
from xpnet.cli import evaluate, features, search, train
from xpnet.network import Network

pytestmark = pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")


def run(digits_folder, folder, *flags):
    """A finished run of 20 iterations: its folder and summary."""
    settings = ("--data-dir", digits_folder, "--iterations", "20", "--report-every", "5", "--no-plots", "--out", folder)
    assert train.main([*map(str, settings), *flags]) == 0
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def on_cuda(digits_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda") / "run"
    return folder, run(digits_folder, folder, "--device", "cuda")


def test_a_record_is_that_of_the_cpu_but_for_rounding(digits_folder, on_cuda, tmp_path):
    folder, summary = on_cuda
    expected = run(digits_folder, tmp_path / "cpu", "--device", "cpu")
    assert summary["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-4)
    weights = [Network.load(path / "weights.safetensors").theta for path in (folder, tmp_path / "cpu")]
    np.testing.assert_allclose(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("flags", [["--precision", "float16"], ["--graph"], ["--kernels", "pure"]])
def test_another_way_of_computing_comes_to_the_same(digits_folder, on_cuda, tmp_path, flags):
    summary = run(digits_folder, tmp_path / "run", "--device", "cuda", *flags)
    assert summary["test_loss"] == pytest.approx(on_cuda[1]["test_loss"], rel=2e-2)


def test_deterministic_runs_have_the_same_bits(digits_folder, tmp_path):
    files = []
    for name in ("one", "two"):
        run(digits_folder, tmp_path / name, "--device", "cuda", "--deterministic", "--model", "mlp")
        files.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_run_is_evaluated_again_on_either_device(on_cuda, capsys, device):
    folder, summary = on_cuda
    assert evaluate.main([str(folder), "--device", device]) == 0
    assert f"Test accuracy {summary['test_accuracy']:.2%}" in capsys.readouterr().out
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["test_loss"] == pytest.approx(summary["test_loss"], rel=1e-4)


def test_features_are_those_of_the_cpu(on_cuda, tmp_path, capsys):
    Image.fromarray(datasets.load("mnist").test_inputs[0, :, :, 0]).save(tmp_path / "digit.png")
    printed = []
    for device in ("cuda", "cpu"):
        flags = ["--weights", str(on_cuda[0]), "--layer", "relu1", "--out", str(tmp_path / f"{device}.png")]
        assert features.main([str(tmp_path / "digit.png"), *flags, "--device", device]) == 0
        printed.append(capsys.readouterr().out.replace(f"{device}.png", ""))
    assert printed[0] == printed[1]


def test_a_network_is_fine_tuned(digits_folder, on_cuda, tmp_path):
    start, tuned = (folder / "weights.safetensors" for folder in (on_cuda[0], tmp_path))
    summary = run(digits_folder, tmp_path, "--device", "cuda", "--weights", str(start), "--freeze", "conv1.*")
    before, after = (Network.load(path).parameters()["conv1.weight"] for path in (start, tuned))
    np.testing.assert_array_equal(after, before)
    assert summary["test_loss"] < on_cuda[1]["test_loss"]


def test_a_search_and_a_range_test(digits_folder, tmp_path, capsys):
    common = ["--data-dir", str(digits_folder), "--out", str(tmp_path), "--device", "cuda", "--limit", "200"]
    assert search.main([*common, "--lr-range-test", "--batch-size", "8", "--model", "mlp"]) == 0
    pytest.importorskip("optuna")
    assert search.main([*common, "--trials", "2", "--hidden", "8", "--epochs", "1"]) == 0
    assert "Best: trial" in capsys.readouterr().out
