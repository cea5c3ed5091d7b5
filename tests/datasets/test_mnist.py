import gzip
import hashlib
import lzma
import re

import numpy as np
import pytest

from xpnet.datasets import mnist
from xpnet.errors import InputError

BUNDLED = mnist._BUNDLED
PUBLISHED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", PUBLISHED_MD5)
def test_bundled_files_are_the_published_ones(name):
    with lzma.open(BUNDLED / f"{name}.xz") as file:
        assert hashlib.md5(file.read()).hexdigest() == PUBLISHED_MD5[name]
    assert f"{PUBLISHED_MD5[name]}  {name}\n" in (BUNDLED / "LICENSE.txt").read_text(encoding="utf-8")


def test_bundled_mnist():
    dataset = mnist.load()
    assert dataset.train_inputs.shape == (60_000, 28, 28, 1)
    assert dataset.test_inputs.shape == (10_000, 28, 28, 1)
    assert dataset.class_names == tuple("0123456789")
    # Published facts: the first labels, the number of each digit in the test set, the mean intensity.
    assert dataset.train_targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(dataset.test_targets).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert dataset.train_inputs.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("separator", "-.")
def test_reads_every_spelling_from_a_folder(tmp_path, mnist_arrays, to_idx, suffix, compress, separator):
    for name, array in mnist_arrays.items():
        (tmp_path / (name.replace("-idx", f"{separator}idx") + suffix)).write_bytes(compress(to_idx(array)))
    dataset = mnist.load(str(tmp_path))
    arrays = [
        dataset.train_inputs[..., 0],
        dataset.train_targets,
        dataset.test_inputs[..., 0],
        dataset.test_targets,
    ]
    for read, written in zip(arrays, mnist_arrays.values(), strict=True):
        np.testing.assert_array_equal(read, written)
    assert dataset.input_shape == (4, 3, 1)
    assert dataset.train_inputs.dtype == np.uint8
    assert dataset.test_targets.dtype == np.int32


@pytest.mark.parametrize("name", PUBLISHED_MD5)
def test_missing_file_names_what_was_looked_for_and_where(mnist_folder, name):
    (mnist_folder / name).unlink()
    dotted = name.replace("-idx", ".idx")
    message = f"mnist: expected {name} or {dotted} (as it is, .gz or .xz) in {mnist_folder}, got no such file."
    with pytest.raises(InputError, match=re.escape(message)):
        mnist.load(mnist_folder)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"in {tmp_path / 'nowhere'}, got no such file.")):
        mnist.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "train-labels-idx1-ubyte",
            lambda labels: np.append(labels[:-1], 10),
            "expected labels from 0 to 9, got 10.",
        ),
        ("t10k-labels-idx1-ubyte", lambda labels: labels[:-1], "expected 10 targets, one for each example of"),
        ("train-images-idx3-ubyte", lambda images: images[:-1], "expected 19 targets, one for each example of"),
        ("t10k-images-idx3-ubyte", lambda images: images[:, 1:], "expected inputs of shape (4, 3, 1) as in"),
        ("t10k-images-idx3-ubyte", np.ravel, "expected images with the magic number 00000803, got 00000801."),
        (
            "train-labels-idx1-ubyte",
            lambda labels: labels[:, None, None],
            "expected labels with the magic number 00000801, got 00000803.",
        ),
    ],
)
def test_names_the_file_at_odds(mnist_folder, mnist_arrays, to_idx, name, change, message):
    (mnist_folder / name).write_bytes(to_idx(change(mnist_arrays[name])))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        mnist.load(mnist_folder)
    assert str(mnist_folder / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_names_the_truncated_file(mnist_folder):
    path = mnist_folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{path}: expected 120 bytes after the header"):
        mnist.load(mnist_folder)
