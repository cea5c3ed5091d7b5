import io
import os
import pickle
import re
import struct
import tarfile
from types import FunctionType

import numpy as np
import pytest

from xpnet.datasets import cifar10
from xpnet.errors import InputError

TRAIN_FILES = [f"data_batch_{i}" for i in range(1, 6)]


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its str; the official files are of this kind."""

    def save_str(self, value):
        value = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}  # noqa: RUF012


class OldNumPyPickler(pickle._Pickler):
    """Writes the module names of NumPy 1."""

    def save_global(self, obj, name=None):
        self.save(obj.__module__.replace("numpy._core", "numpy.core"))
        self.save(obj.__name__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, FunctionType: save_global}  # noqa: RUF012


def python2(content):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def old_numpy(protocol):
    def dump(content):
        file = io.BytesIO()
        OldNumPyPickler(file, protocol).dump(content)
        return file.getvalue()

    return dump


def new_numpy(protocol, keys=str):
    def dump(content):
        keyed = {key if keys is str else key.encode(): value for key, value in content.items()}
        return pickle.dumps(keyed, protocol)

    return dump


FORMATS = {
    "Python 2": python2,
    "NumPy 1, protocol 4": old_numpy(4),
    "NumPy 1, protocol 5": old_numpy(5),
    **{f"NumPy 2, protocol {p}": new_numpy(p) for p in range(2, 6)},
    "keys of bytes, protocol 2": new_numpy(2, bytes),
    "keys of bytes, protocol 4": new_numpy(4, bytes),
}


@pytest.mark.parametrize("dump", FORMATS.values(), ids=FORMATS)
def test_round_trip(cifar_folder, cifar_contents, dump):
    for name, content in cifar_contents.items():
        (cifar_folder / name).write_bytes(dump(content))
    dataset = cifar10.load(cifar_folder)
    assert dataset.class_names == tuple(cifar_contents["batches.meta"]["label_names"])
    for images, labels, files in (
        (dataset.train_inputs, dataset.train_targets, TRAIN_FILES),
        (dataset.test_inputs, dataset.test_targets, ["test_batch"]),
    ):
        assert labels.tolist() == [label for name in files for label in cifar_contents[name]["labels"]]
        rows = np.concatenate([cifar_contents[name]["data"] for name in files])
        for channel in range(3):  # the planes of red, green and blue, 1024 values each
            plane = rows[:, 1024 * channel : 1024 * (channel + 1)].reshape(-1, 32, 32)
            np.testing.assert_array_equal(images[..., channel], plane, strict=True)


def test_the_python2_files_have_the_official_opening(cifar_contents):
    """The test writer is itself held to the format: protocol 2, names of NumPy 1, no unicode strings."""
    written = python2(cifar_contents["data_batch_1"])
    assert written.startswith(b"\x80\x02}q\x00(T\x0b\x00\x00\x00batch_label")
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in written
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(written, encoding="ascii")


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_in_fortran_order(cifar_folder, cifar_contents, protocol):
    content = cifar_contents["test_batch"]
    fortran = content | {"data": np.asfortranarray(content["data"])}
    (cifar_folder / "test_batch").write_bytes(pickle.dumps(fortran, protocol))
    images = cifar10.load(cifar_folder).test_inputs
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(4, 3072), content["data"])


def test_folder_or_its_parent(cifar_folder):
    inside, around = cifar10.load(str(cifar_folder)), cifar10.load(cifar_folder.parent)
    np.testing.assert_array_equal(inside.train_inputs, around.train_inputs)


def assert_refused(folder, *messages):
    with pytest.raises(InputError) as error:
        cifar10.load(folder)
    for message in messages:
        assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def archive(cifar_folder, publish, monkeypatch):
    """The files as the server hands them out: packed in another order, with others among them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(cifar_folder, cifar_folder.name, recursive=False)
        for path in sorted(cifar_folder.iterdir(), reverse=True):
            tar.add(path, f"{cifar_folder.name}/{path.name}")
            for other in ("", "../", "/tmp/", f"{cifar_folder.name}/more/"):
                tar.addfile(tarfile.TarInfo(f"{other}{path.name}"), io.BytesIO())
    monkeypatch.setattr(cifar10, "_ARCHIVE", publish("cifar-10-python.tar.gz", packed.getvalue()))
    return packed.getvalue()


def assert_equal(dataset, expected):
    for name in ("train_inputs", "train_targets", "test_inputs", "test_targets", "class_names"):
        np.testing.assert_array_equal(getattr(dataset, name), getattr(expected, name))


def test_without_a_folder_the_archive_is_downloaded_once(cifar_folder, archive, server, cache):
    expected = cifar10.load(cifar_folder)
    for _ in range(2):
        assert_equal(cifar10.load(), expected)
    assert server.requests == ["/cifar-10-python.tar.gz"]
    names = [path.name for path in (cache / "cifar10").glob("[!.]*")]
    assert names == ["cifar-10-python.tar.gz"]  # nothing is unpacked


def test_an_archive_in_the_folder_is_read(cifar_folder, archive, tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes(archive)
    assert_equal(cifar10.load(folder), cifar10.load(cifar_folder))
    assert len(list(folder.iterdir())) == 1


def test_an_archive_with_another_hash_is_not_opened(archive, tmp_path, monkeypatch):
    path = tmp_path / "downloads" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    path.write_bytes(archive[:-1])
    monkeypatch.delattr(tarfile, "open")
    assert_refused(path.parent, f"{path}: expected the SHA-256 {cifar10._ARCHIVE.sha256}, got ", "data_dir")


def test_a_file_that_cannot_be_read(cifar_folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    assert_refused(cifar_folder, f"{cifar_folder / 'data_batch_1'}: expected a readable file, got: Permission denied.")


def test_missing_files_are_named(cifar_folder):
    (cifar_folder / "data_batch_3").unlink()
    (cifar_folder / "batches.meta").unlink()
    assert_refused(cifar_folder, f"in {cifar_folder}, got no data_batch_3, batches.meta.")
    assert_refused(cifar_folder / "nowhere", "got no data_batch_1, data_batch_2,")


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_system_call_is_refused_and_not_run(cifar_folder, cifar_contents, protocol):
    trace = cifar_folder / "trace"
    content = cifar_contents["data_batch_2"] | {"labels": Payload(os.system, f"touch {trace}")}
    path = cifar_folder / "data_batch_2"
    path.write_bytes(pickle.dumps(content, protocol))
    assert_refused(cifar_folder, f"{path}: expected arrays, lists and text only", "system', which was not run.")
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # so the payload does work where nothing refuses it


@pytest.mark.parametrize(
    "function", [eval, getattr, open, np.load, np.fromfile, np.frombuffer, pickle.loads, bytearray, type]
)
def test_no_other_function_is_admitted(cifar_folder, function):
    path = cifar_folder / "batches.meta"
    path.write_bytes(pickle.dumps(Payload(function, "x"), 4))
    assert_refused(cifar_folder, f"{path}: expected arrays, lists and text only", f"{function.__name__}', which was")


def test_a_dotted_name_does_not_reach_through_an_admitted_one(cifar_folder):
    pickled = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."
    (cifar_folder / "batches.meta").write_bytes(pickled)
    assert_refused(cifar_folder, "got the global 'numpy.ndarray.__init__', which was not run.")


@pytest.mark.parametrize("dump", [python2, old_numpy(4), new_numpy(2), new_numpy(5)])
def test_truncated_pickle(cifar_folder, cifar_contents, dump):
    path = cifar_folder / "data_batch_4"
    pickled = dump(cifar_contents["data_batch_4"])
    for length in [0, 1, 2, 30, *range(100, len(pickled), 499), len(pickled) - 1]:
        path.write_bytes(pickled[:length])
        assert_refused(cifar_folder, f"{path}: expected a complete pickle file, got: ")


def error_of(folder):
    try:
        cifar10.load(folder)
    except InputError as error:
        return str(error)
    return ""


def test_damage_never_raises_another_kind_of_error(cifar_folder, cifar_contents):
    path = cifar_folder / "test_batch"
    pickled = pickle.dumps(cifar_contents["test_batch"])
    pixels = pickled.index(cifar_contents["test_batch"]["data"].tobytes())
    around_the_pixels = [*range(pixels), *range(pixels + 4 * 3072, len(pickled))]
    rng = np.random.default_rng(0)
    errors = []
    for position in around_the_pixels:
        damaged = bytearray(pickled)
        damaged[position] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        errors.append(error_of(cifar_folder))
    assert sum(map(bool, errors)) > len(errors) / 2
    assert all(str(path) in error and "\n" not in error for error in errors if error)


def batch(**changes):
    return lambda content: content | changes


ANOTHER = "expected 'data' to be a uint8 array (N, 3072), got "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (batch(data=np.zeros((4, 3071), np.uint8)), ANOTHER + "shape (4, 3071)."),
        (batch(data=np.zeros((4, 3, 32, 32), np.uint8)), ANOTHER + "shape (4, 3, 32, 32)."),
        (batch(data=np.zeros((3, 3072), np.uint8)), "expected 3 targets, one for each example of"),
        (batch(data=np.zeros((4, 3072), np.float32)), "got: an array of 'f4' where uint8 ('u1') is expected"),
        (batch(data=np.array([None] * 4)), "got: an array of 'O8' where uint8 ('u1') is expected"),
        (batch(data=[[0] * 3072] * 4), ANOTHER + "other content."),
        (batch(labels=[0, 1, 2, 10]), "expected labels from 0 to 9, got 10."),
        (batch(labels=[0, 1, 2, -1]), "expected labels from 0 to 9, got -1."),
        (batch(labels=[0, 1, 2, 2**32]), "expected labels from 0 to 9, got 4294967296."),
        (batch(labels=[0, 1, 2, 2**64]), "expected 'labels' to be a list of integers, got other content."),
        (batch(labels=[0, 1, 2, 0.5]), "expected 'labels' to be a list of integers, got other content."),
        (
            batch(labels=[[0], [1], [2], [3]]),
            "expected 'labels' to be a list of integers, got other content.",
        ),
        (batch(labels=[[0], [1, 2], 3]), "expected 'labels' to be a list of integers, got other content."),
        (batch(labels=[]), "expected 'labels' to be a list of integers, got other content."),
        (batch(labels=None), "expected 'labels' to be a list of integers, got other content."),
        (batch(labels="0123"), "expected 'labels' to be a list of integers, got other content."),
        (
            lambda content: {"data": content["data"]},
            "expected a dictionary with the key 'labels', got other content.",
        ),
        (
            lambda content: {"labels": content["labels"]},
            "expected a dictionary with the key 'data', got other",
        ),
        (lambda content: [content], "expected a dictionary with the key 'data', got other content."),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_5", "test_batch"])
def test_wrong_batches(cifar_folder, cifar_contents, name, change, message):
    path = cifar_folder / name
    path.write_bytes(pickle.dumps(change(cifar_contents[name])))
    assert_refused(cifar_folder, str(path), message)


@pytest.mark.parametrize(
    "names", [["cat"] * 9, "airplane", [1] * 10, None, [*"abcdefghi", "\x1b[2J"], [*"abcdefghi", "a"], [b"\n"] * 10]
)
def test_wrong_class_names(cifar_folder, names):
    path = cifar_folder / "batches.meta"
    path.write_bytes(pickle.dumps({"label_names": names}))
    assert_refused(cifar_folder, f"{path}: expected 'label_names' to be 10 different names, got other content.")


@pytest.mark.parametrize("values", [b"", bytes(4 * 3072 - 1), bytes(4 * 3072 + 1), None, "0" * 4 * 3072])
def test_an_array_whose_values_do_not_fill_its_shape(cifar_folder, cifar_contents, values):
    class Array:
        def __reduce__(self):
            function, arguments, state = np.zeros((4, 3072), np.uint8).__reduce__()
            return function, arguments, (*state[:-1], values)

    path = cifar_folder / "test_batch"
    path.write_bytes(pickle.dumps(cifar_contents["test_batch"] | {"data": Array()}))
    assert_refused(cifar_folder, f"{path}: expected a complete pickle file, got: ")


def test_an_array_that_is_never_filled(cifar_folder, cifar_contents):
    class Array:
        def __reduce__(self):
            return np.zeros(1).__reduce__()[:2]

    (cifar_folder / "test_batch").write_bytes(pickle.dumps(cifar_contents["test_batch"] | {"data": Array()}))
    assert_refused(cifar_folder, ANOTHER + "other content.")


def test_unknown_names_in_errors_keep_to_one_line(cifar_folder):
    (cifar_folder / "batches.meta").write_bytes(re.sub(b"NAME", b"a\nb!", b"\x80\x04\x8c\x04NAME\x8c\x04NAME\x93."))
    assert_refused(cifar_folder, r"got the global 'a\nb!.a\nb!', which was not run.")
