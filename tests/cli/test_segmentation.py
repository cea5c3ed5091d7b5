"""A run that gives a class to each pixel, from training to evaluation."""

import json

import pytest

from xpnet.cli import evaluate, train
from xpnet.datasets import shapes


@pytest.fixture
def few_shapes(monkeypatch):
    monkeypatch.setattr(shapes, "_SIZE", 32)
    monkeypatch.setattr(shapes, "_TRAIN", 24)
    monkeypatch.setattr(shapes, "_TEST", 8)


def test_a_run_of_a_unet(few_shapes, tmp_path, capsys):
    run = tmp_path / "run"
    flags = ["--iterations", "6", "--batch-size", "4", "--validation", "4", "--report-every", "3", "--out", str(run)]
    assert train.main(["--model", "unet_small", *flags]) == 0
    printed = capsys.readouterr().out
    assert "of 8,192 pixels), mean IoU" in printed
    assert {path.name for path in (run / "plots").iterdir()} >= {"segmentation.png", "confusion_matrix.png"}
    summary = json.loads((run / "summary.json").read_text())
    assert len(summary["iou"]) == 4
    assert evaluate.main([str(run)]) == 0
    assert json.loads((run / "evaluation.json").read_text())["test_accuracy"] == summary["test_accuracy"]
