"""FER2013's networks, each by its one command, on a file in the true format: Kaggle's fer2013.csv."""

import json

import numpy as np
import pytest

from xpnet import Network
from xpnet.cli.train import main

PARAMETERS = {"fer_cnn": 4_740_039, "resnet50": 23_513_543, "resnet101": 42_505_671}


@pytest.fixture(scope="module")
def fer_folder(tmp_path_factory):
    """Random faces: 6 training, 2 public and 2 private test images."""
    rng, lines = np.random.default_rng(0), ["emotion,pixels,Usage"]
    for number, usage in enumerate(["Training"] * 6 + ["PublicTest"] * 2 + ["PrivateTest"] * 2):
        lines.append(f"{number % 7},{' '.join(map(str, rng.integers(0, 256, 48 * 48)))},{usage}")
    folder = tmp_path_factory.mktemp("fer2013")
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        ("fer_cnn", []),
        ("resnet50", ["--data", "fer2013", "--stem", "small"]),
        ("resnet101", ["--data", "fer2013", "--stem", "small"]),
    ],
)
def test_one_real_step(fer_folder, tmp_path, model, flags):
    folder = tmp_path / "run"
    step = ["--iterations", "1", "--batch-size", "2", "--no-plots", "--quiet", "--out", str(folder)]
    assert main(["--model", model, "--data-dir", str(fer_folder), *flags, *step]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["parameters"] == PARAMETERS[model]
    assert np.sum(summary["confusion_matrix"]) == 2
    assert np.isfinite(summary["loss"])
    assert (folder / "classes.txt").read_text() == "Angry\nDisgust\nFear\nHappy\nSad\nSurprise\nNeutral\n"
    network = Network.load(folder / "weights.safetensors")
    assert (network.input_shape, network.output_shape) == ((48, 48, 1), (7,))
