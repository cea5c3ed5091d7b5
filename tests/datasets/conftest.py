"""Small datasets in the true file formats."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest


def idx_bytes(array):
    """The IDX format, written out by hand."""
    sizes = b"".join(struct.pack(">i", size) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def to_idx():
    return idx_bytes


@pytest.fixture
def mnist_arrays():
    """The arrays of the four files by name: 20 training and 10 test images of 4x3 pixels."""
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (20, 4, 3)),
        "train-labels-idx1-ubyte": np.arange(20) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (10, 4, 3)),
        "t10k-labels-idx1-ubyte": np.arange(10),
    }


@pytest.fixture
def mnist_folder(tmp_path, mnist_arrays):
    for name, array in mnist_arrays.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def cifar_contents():
    """The dictionaries of the seven files by name: 4 images in each of the six batches."""
    rng = np.random.default_rng(0)
    contents: dict[str, dict] = {
        name: {
            "batch_label": name,
            "labels": rng.integers(0, 10, 4).tolist(),
            "data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
            "filenames": ["a.png", "b.png", "c.png", "d.png"],
        }
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    }
    contents["batches.meta"] = {"num_cases_per_batch": 4, "label_names": list(CIFAR_NAMES), "num_vis": 3072}
    return contents


@pytest.fixture
def cifar_folder(tmp_path, cifar_contents) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar_contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return folder
