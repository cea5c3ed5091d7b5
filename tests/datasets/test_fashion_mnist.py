import gzip

import numpy as np
import pytest

from xpnet.datasets import fashion_mnist
from xpnet.errors import InputError


@pytest.fixture(autouse=True)
def no_package(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_FOLDER", tmp_path / "no-package")


def assert_is(dataset, arrays):
    assert dataset.name == "fashion_mnist"
    assert dataset.class_names[0] == "T-shirt/top"
    assert dataset.class_names[9] == "Ankle boot"
    assert dataset.classes == 10
    read = dataset.train_inputs[..., 0], dataset.train_targets, dataset.test_inputs[..., 0], dataset.test_targets
    for ours, theirs in zip(read, arrays.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_reads_a_folder(mnist_folder, mnist_arrays):
    assert_is(fashion_mnist.load(mnist_folder), mnist_arrays)


def test_finds_the_debian_package(mnist_folder, mnist_arrays, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_FOLDER", mnist_folder)
    assert_is(fashion_mnist.load(), mnist_arrays)


def test_downloads_the_four_files_once(publish, server, mnist_arrays, to_idx, monkeypatch):
    files = [publish(f"{name}.gz", gzip.compress(to_idx(array))) for name, array in mnist_arrays.items()]
    assert [file.name for file in files] == [file.name for file in fashion_mnist._FILES]
    monkeypatch.setattr(fashion_mnist, "_FILES", files)
    for _ in range(2):
        assert_is(fashion_mnist.load(), mnist_arrays)
    assert len(server.requests) == 4


def test_a_missing_file_says_where_to_get_it(mnist_folder):
    (mnist_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"fashion_mnist: expected t10k-labels.*dataset-fashion-mnist.*data_dir"):
        fashion_mnist.load(mnist_folder)
