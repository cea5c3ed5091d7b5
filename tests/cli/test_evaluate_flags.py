"""What the flags of evaluate.py change."""

import json
import shutil

import numpy as np
import pytest

from xpnet import datasets
from xpnet.cli.evaluate import main


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished_run[0], tmp_path / "run")


def confusion_after(run_folder, *flags):
    """The confusion matrix that a run of evaluate.py with these flags writes."""
    assert main([str(run_folder), *flags]) == 0
    return np.asarray(json.loads((run_folder / "evaluation.json").read_text())["confusion_matrix"])


def test_data_dir_is_where_the_images_come_from(run_folder, digits_folder, tmp_path):
    """In the other folder each label is one higher, so each row of the matrix is one lower."""
    other = shutil.copytree(digits_folder, tmp_path / "other")
    labels = other / "t10k-labels-idx1-ubyte"
    content = np.frombuffer(labels.read_bytes(), np.uint8)
    labels.write_bytes(content[:8].tobytes() + ((content[8:] + 1) % 10).astype(np.uint8).tobytes())
    before, after = confusion_after(run_folder), confusion_after(run_folder, "--data-dir", str(other))
    assert not np.array_equal(after, before)
    assert np.array_equal(after, np.roll(before, 1, axis=0))


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "mps"])
def test_a_bad_device_gives_one_line_and_exit_code_2(run_folder, capsys, device):
    assert main([str(run_folder), "--device", device]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert device in error
    assert not (run_folder / "evaluation.json").exists()


@pytest.fixture
def asked(monkeypatch):
    """The names and folders of the data sets that are loaded; what they get is MNIST's shape."""
    asked = []

    def load(name, folder=None, *arguments, **named):
        asked.append((name, folder))
        images, labels = np.zeros((10, 28, 28, 1), np.uint8), np.arange(10, dtype=np.int32)
        return datasets.Dataset(name, images, labels, images, labels, tuple("abcdefghij"))

    monkeypatch.setattr(datasets, "load", load)
    return asked


def test_data_names_the_data_set(run_folder, asked):
    """The folder of the training data holds another data set and is not for this one."""
    assert confusion_after(run_folder, "--data", "fashion_mnist").sum() == 10
    assert asked == [("fashion_mnist", None)]
    assert json.loads((run_folder / "evaluation.json").read_text())["data"] == "fashion_mnist"


def test_data_and_data_dir_go_together(run_folder, asked, tmp_path):
    confusion_after(run_folder, "--data", "fashion_mnist", "--data-dir", str(tmp_path))
    assert asked == [("fashion_mnist", str(tmp_path))]


def test_without_flags_the_data_are_those_of_the_training(run_folder, asked, digits_folder):
    confusion_after(run_folder)
    assert asked == [("mnist", str(digits_folder))]
