import json

import numpy as np
import pytest
from PIL import Image

from xpnet.cli import evaluate, train
from xpnet.datasets import image_folder


@pytest.fixture
def folder(tmp_path):
    """20 images of each of two classes, dark and bright; their names mean something to rich and to matplotlib."""
    rng = np.random.default_rng(0)
    for name, low in (("[bold]", 0), (r"$\frac$", 128)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            size = (14 + number % 3, 15, 3)
            Image.fromarray(rng.integers(low, low + 128, size, dtype=np.uint8)).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    return tmp_path / "data"


@pytest.mark.parametrize("in_memory", [True, False])
def test_train_and_evaluate(folder, tmp_path, capsys, monkeypatch, in_memory):
    monkeypatch.setattr(image_folder, "IN_MEMORY_BYTES", (1 << 30) * in_memory)
    flags = ["--data", "folder", "--data-dir", str(folder), "--image-size", "12", "16"]
    assert train.main([*flags, "--iterations", "40", "--out", str(tmp_path / "run"), "--no-malloc-tuning"]) == 0
    printed = capsys.readouterr().out
    assert "33 training images" in printed  # of 40, 4 for testing and 3 for validation
    assert "12 x 16 x 3" in printed
    assert "[bold]" in printed
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test_accuracy"] == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["image_size"] == [12, 16]
    assert len(list((tmp_path / "run" / "plots").iterdir())) == 6

    assert evaluate.main([str(tmp_path / "run")]) == 0
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["confusion_matrix"] == summary["confusion_matrix"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "folder"], "folder: expected a folder of images, got no --data-dir."),
        (["--data", "folder", "--data-dir", "DATA"], "Choose one for all of them, such as --image-size 14 15."),
        (["--data", "folder", "--data-dir", "DATA", "--image-size", "0", "9"], "the image height"),
        (["--data", "mnist", "--image-size", "28", "28"], "expected no image size for mnist"),
        (["--data", "fer2013"], "fer2013: expected the folder of fer2013.csv, got no data folder."),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(folder, tmp_path, capsys, flags, message):
    flags = [flag.replace("DATA", str(folder)) for flag in flags]
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
