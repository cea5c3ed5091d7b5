import re
import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.helpers import refused
from xpnet import backend as backends
from xpnet.backend import namespace_name, to_numpy
from xpnet.datasets import Dataset
from xpnet.datasets.image_files import ImageFiles
from xpnet.errors import InputError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
REAL = np.linspace(-1, 1, 6)
LABELS = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]])


def arguments(**changes):
    return {
        "name": "toy",
        "train_inputs": np.zeros((6, 5, 4, 3), np.uint8),
        "train_targets": np.array([0, 1, 2, 0, 1, 2], np.int32),
        "test_inputs": np.zeros((2, 5, 4, 3), np.uint8),
        "test_targets": np.array([2, 0], np.int32),
        "class_names": ("a", "b", "c"),
    } | changes


def test_arrays_of_the_right_kind_are_kept_as_they_are():
    given = arguments()
    dataset = Dataset(**given)
    for name, value in given.items():
        assert getattr(dataset, name) is value
    assert (dataset.input_shape, dataset.target_shape, dataset.classes) == ((5, 4, 3), (), 3)
    assert dataset.task == "classes"


def with_validation(**changes):
    return arguments(
        validation_inputs=np.zeros((2, 5, 4, 3), np.uint8), validation_targets=np.array([1, 0], np.int32), **changes
    )


def test_test_and_validation_parts_are_optional():
    assert Dataset(**arguments()).validation_inputs is None
    assert Dataset(**with_validation()).validation_targets.tolist() == [1, 0]
    assert Dataset("toy", X, CLASSES).test_inputs is None


def test_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Dataset(**arguments()).name = "other"


def test_a_data_set_of_arrays():
    dataset = Dataset.from_arrays(X, CLASSES, test=(X[:2], CLASSES[:2]), validation=[X[2:], CLASSES[2:]], name="mine")
    assert (dataset.name, dataset.classes, dataset.class_names) == ("mine", 3, ("0", "1", "2"))
    assert dataset.train_inputs is X
    np.testing.assert_array_equal(dataset.test_targets, CLASSES[:2].astype(np.int32), strict=True)
    np.testing.assert_array_equal(dataset.validation_inputs, X[2:])
    again = replace(dataset, name="again")
    assert again.train_targets is dataset.train_targets


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_class_numbers_of_any_integer_dtype(dtype):
    dataset = Dataset.from_arrays(X, CLASSES.astype(dtype), class_names=("a", "b", "c", "d"))
    np.testing.assert_array_equal(dataset.train_targets, CLASSES.astype(np.int32), strict=True)
    assert dataset.classes == 4


@pytest.mark.parametrize("dtype", ["object", "U5", np.dtypes.StringDType()], ids=str)
def test_names_of_classes(dtype):
    names = np.array(["dog", "cat", "ä", "dog", "cat", "ä"], dtype)
    dataset = Dataset.from_arrays(X, names, test=(X[:2], np.array(["ä", "cat"], dtype)))
    assert dataset.class_names == ("cat", "dog", "ä")
    np.testing.assert_array_equal(dataset.train_targets, np.int32([1, 0, 2, 1, 0, 2]), strict=True)
    np.testing.assert_array_equal(dataset.test_targets, np.int32([2, 0]), strict=True)
    ordered = Dataset.from_arrays(X, names.tolist(), class_names=("dog", "ä", "cat", "cow"))
    assert ordered.train_targets.tolist() == [0, 2, 1, 0, 2, 1]
    assert ordered.classes == 4


@pytest.mark.parametrize(
    ("targets", "task", "dtype", "shape"),
    [
        (REAL, "real", np.float64, ()),
        (REAL.astype(">f4"), "real", np.float32, ()),
        (np.stack([REAL, REAL], axis=1), "real", np.float64, (2,)),
        (CLASSES > 0, "binary", np.bool_, ()),
        (LABELS > 0, "binary", np.bool_, (2,)),
        (LABELS, "binary", np.int32, (2,)),
        (LABELS.astype(np.float64), "real", np.float64, (2,)),
        (REAL.tolist(), "real", np.float64, ()),
        (LABELS.tolist(), "binary", np.int32, (2,)),
    ],
)
def test_other_targets(targets, task, dtype, shape):
    dataset = Dataset.from_arrays(X, targets, test=(X, targets))
    assert (dataset.task, dataset.target_shape, dataset.classes, dataset.class_names) == (task, shape, None, None)
    assert dataset.train_targets.dtype == dataset.test_targets.dtype == dtype
    np.testing.assert_array_equal(dataset.train_targets, targets)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint16", "float16", "float32", "float64"])
def test_inputs_of_any_real_dtype_and_rank(dtype):
    for shape in ((6, 3), (6, 4, 4, 1), (6, 2, 2, 2, 2)):
        x = np.ones(shape, dtype)
        assert Dataset.from_arrays(x, CLASSES).train_inputs is x


def test_integer_images_get_a_channel_axis_and_sequences_of_floats_do_not():
    for dtype in ("uint8", "int64"):
        dataset = Dataset.from_arrays(np.ones((6, 5, 4), dtype), CLASSES, test=(np.ones((6, 5, 4), dtype), CLASSES))
        assert dataset.input_shape == (5, 4, 1)
        assert dataset.test_inputs.shape == (6, 5, 4, 1)
    assert Dataset.from_arrays(np.ones((6, 5, 4)), CLASSES).input_shape == (5, 4)


def test_lists_and_other_byte_orders_are_converted():
    dataset = Dataset.from_arrays(X.tolist(), CLASSES.tolist())
    np.testing.assert_array_equal(dataset.train_inputs, X.astype(np.float64), strict=True)
    swapped = Dataset.from_arrays(X.astype(">f4"), CLASSES.astype(">i8"))
    assert swapped.train_inputs.dtype.isnative
    np.testing.assert_array_equal(swapped.train_inputs, X)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"height": [1.0, 2.0, 3.0], "width": [4, 5, 6]})
    dataset = Dataset.from_arrays(frame, pandas.Series(["a", "b", "a"]))
    assert dataset.train_inputs.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert dataset.class_names == ("a", "b")
    categories = Dataset.from_arrays(frame, pandas.Series(["a", "b", "a"], dtype="category"))
    assert categories.train_targets.tolist() == [0, 1, 0]
    with refused("x: expected a dense array of real numbers, got object"):
        Dataset.from_arrays(pandas.DataFrame({"name": ["a", "b"], "size": [1, 2]}), [0, 1])


def test_arrays_of_every_library_stay_where_they_are(backend, monkeypatch):
    x, numbers = backend.asarray(X), backend.asarray(CLASSES)
    converted = []
    monkeypatch.setattr("xpnet.datasets.arrays.to_numpy", lambda array: converted.append(array) or to_numpy(array))
    dataset = Dataset.from_arrays(x, numbers, test=(x[:2, ...], numbers[:2]))
    assert all(array.shape != x.shape for array in converted)  # no input goes through the host
    assert dataset.train_inputs is x or np.shares_memory(to_numpy(dataset.train_inputs), to_numpy(x))
    home = backends.backend_of(dataset.train_targets)
    assert (home.name, home.device) == (backend.name, backend.device)
    assert dataset.train_targets.dtype == backend.xp.int32
    assert dataset.test_targets.dtype == backend.xp.int32
    assert to_numpy(dataset.train_targets).tolist() == CLASSES.tolist()
    for targets, task in ((REAL, "real"), (LABELS, "binary"), (LABELS > 0, "binary")):
        converted_set = Dataset.from_arrays(x, backend.asarray(targets))
        assert converted_set.task == task
        assert namespace_name(converted_set.train_targets) == backend.name
        np.testing.assert_array_equal(to_numpy(converted_set.train_targets), targets)


def test_names_and_lists_go_where_the_inputs_are(backend):
    for targets in (list("abcabc"), np.array(list("abcabc")), CLASSES.tolist()):
        dataset = Dataset.from_arrays(backend.asarray(X), targets)
        home = backends.backend_of(dataset.train_targets)
        assert (home.name, home.device) == (backend.name, backend.device)
        assert to_numpy(dataset.train_targets).tolist() == CLASSES.tolist()


def test_not_finite_inputs_of_every_library(backend):
    x = X.copy()
    x[4, 1], x[5, 3] = np.nan, -np.inf
    with refused("x", "finite numbers", "got NaN or infinity in 2 of 6 rows, first in row 4"):
        Dataset.from_arrays(backend.asarray(x), backend.asarray(CLASSES))


def test_tensors_that_require_gradients_are_detached():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    x = torch.tensor(X, requires_grad=True)
    dataset = Dataset.from_arrays(x, torch.tensor(REAL, requires_grad=True))
    assert not dataset.train_inputs.requires_grad
    assert not dataset.train_targets.requires_grad
    assert dataset.train_inputs.data_ptr() == x.data_ptr()


@pytest.fixture
def memory_map(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_nothing_is_read_of_a_memory_map(tmp_path, memory_map, monkeypatch):
    monkeypatch.setattr("xpnet.datasets.base.check_finite", None)
    assert Dataset.from_arrays(memory_map, CLASSES).train_inputs is memory_map
    np.save(tmp_path / "images.npy", np.zeros((6, 3, 3), np.uint8))
    images = Dataset.from_arrays(np.load(tmp_path / "images.npy", mmap_mode="r"), CLASSES).train_inputs
    assert isinstance(images, np.memmap)
    assert images.shape == (6, 3, 3, 1)


def test_images_in_files_are_not_decoded(monkeypatch):
    monkeypatch.setattr(ImageFiles, "start", None)
    files = ImageFiles([f"{number}.png" for number in range(6)], (3, 2, 1))
    dataset = Dataset.from_arrays(files, CLASSES)
    assert dataset.train_inputs is files
    assert dataset.input_shape == (3, 2, 1)
    with refused("x: expected at least one example, got shape (0, 3, 2, 1)"):
        Dataset.from_arrays(ImageFiles([], (3, 2, 1)), np.zeros(0, int))


@pytest.mark.parametrize("other", [library for library in PRESENT if library not in ("numpy", "array_api_strict")])
def test_arrays_of_two_libraries_are_refused(other):
    backend = backends.resolve("cuda" if other == "cupy" else "cpu", other)
    for x, y in ((X, backend.asarray(CLASSES)), (backend.asarray(X), CLASSES)):
        with refused("y", "all arrays of a data set in one library and on one device"):
            Dataset.from_arrays(x, y)
    with refused("test x: expected all arrays of a data set in one library", "numpy"):
        Dataset.from_arrays(backend.asarray(X), backend.asarray(CLASSES), test=(X, CLASSES))


def test_arrays_on_two_devices_are_refused():
    jax = pytest.importorskip("jax", exc_type=ImportError)
    one, other = jax.devices("cpu")
    with refused("y", "all arrays of a data set in one library and on one device", "jax on cpu:1"):
        Dataset.from_arrays(jax.device_put(X, one), jax.device_put(CLASSES, other))


class Sparse:
    """As SciPy's matrices are: NumPy makes an object of it."""

    def todense(self):
        return X


NAN, INFINITE = X.copy(), X.copy()
NAN[2, 1], INFINITE[0, 0] = np.nan, np.inf


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], "expected at least one example, got shape (0, 4)."),
        (X[:, :0], "expected at least one example, got shape (6, 0)."),
        ([], "expected at least one example, got shape (0,)."),
        (np.float32(1), "expected at least one example, got shape ()."),
        (X[:, 0], "got shape (6,). Reshape a single feature to (-1, 1)."),
        (NAN, "expected finite numbers, got NaN or infinity in 1 of 6 rows, first in row 2."),
        (INFINITE, "expected finite numbers, got NaN or infinity in 1 of 6 rows, first in row 0."),
        (X.astype(str), "expected a dense array of real numbers, got <U"),
        (X.astype(object), "expected a dense array of real numbers, got object."),
        (X.astype(complex), "expected a dense array of real numbers, got complex128."),
        (X.astype("datetime64[s]"), "expected a dense array of real numbers, got datetime64[s]."),
        ([[1, 2], [3]], "rows of equal length, got"),
        (np.ma.masked_less(X, 0), "expected an array without a mask, got a masked one."),
        (Sparse(), "expected a dense array, got Sparse. Convert it with .toarray()."),
        ((row for row in X), "expected a dense array of real numbers, got object."),
        (None, "expected a dense array of real numbers, got object."),
        (X[:5], "expected 5 targets, one for each example of x, got 6."),
    ],
)
def test_inputs_that_are_refused(x, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(InputError, match=f"^[xy]: .*{re.escape(message)}") as error:
            Dataset.from_arrays(x, CLASSES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([], "expected at least one example, got shape (0,)."),
        (3, "expected at least one example, got shape ()."),
        (CLASSES[:5], "expected 6 targets, one for each example of x, got 5."),
        (np.zeros(6, int), "expected two classes or more, got '0' for all 6 examples."),
        (["cat"] * 6, "expected two classes or more, got 'cat' for all 6 examples."),
        (np.ones(6, bool), "expected two classes or more, got True for all 6 examples."),
        (CLASSES - 1, "expected class numbers from 0, below the number of examples, got -1 to 1."),
        (
            CLASSES * 3,
            "got 0 to 6. Pass names as text, or numbers from np.unique(",
        ),
        (CLASSES[:, None], "expected 0 and 1 in integers (N, K), got 0 to 2. Use class numbers as (N,)"),
        (
            np.where(REAL > 0, np.nan, REAL),
            "expected finite numbers, got NaN or infinity in 3 of 6 rows, first in row 3",
        ),
        (np.where(REAL > 0, np.inf, REAL), "expected finite numbers, got NaN or infinity in 3 of 6 rows"),
        (REAL.astype(complex), "expected a dense array of real numbers, got complex128."),
        (REAL.reshape(6, 1, 1), "expected targets (N,) or (N, K), got float64 of shape (6, 1, 1)."),
        (np.array(list("abcabc")).reshape(6, 1), "expected targets (N,) or (N, K), got <U1 of shape (6, 1)."),
        (np.array([1, "a", None] * 2, object), "expected numbers or names of classes, got other objects."),
        (CLASSES.astype(object), "expected numbers or names of classes, got other objects."),
        (list("ab\ncab"), "class_names: expected text that can be printed, got '\\n'."),
        (np.ma.masked_equal(CLASSES, 0), "expected an array without a mask, got a masked one."),
        (Sparse(), "expected a dense array, got Sparse."),
    ],
)
def test_targets_that_are_refused(y, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        Dataset.from_arrays(X, y)
    assert str(error.value).startswith(("y: ", "arrays class_names: "))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_inputs": None}, "toy validation: expected both inputs and targets or neither, got one of them."),
        ({"validation_targets": None}, "toy validation: expected both inputs and targets or neither, got one of them."),
        ({"test_inputs": None}, "toy test: expected both inputs and targets or neither, got one of them."),
        ({"validation_targets": np.array([3, 0])}, "toy validation_targets: expected labels from 0 to 2, got 3."),
        ({"test_targets": np.array([-1, 0])}, "toy test_targets: expected labels from 0 to 2, got -1."),
        ({"test_targets": ["a", "d"]}, "toy test_targets: expected the classes 'a', 'b', 'c', got 'd'."),
        ({"validation_targets": np.zeros(3, int)}, "toy validation_targets: expected 2 targets, one for each example"),
        (
            {"validation_inputs": np.zeros((2, 4, 4, 3), np.uint8)},
            "toy validation_inputs: expected inputs of shape (5, 4, 3) as in toy train_inputs, got (4, 4, 3).",
        ),
        (
            {"test_targets": np.array([0.5, 1])},
            "toy test_targets: expected class numbers (N,) or (N, H, W)",
        ),
        ({"class_names": ()}, "toy class_names: expected different names, at least one, got ()."),
        (
            {"class_names": ("a", "b", "a")},
            "toy class_names: expected different names, at least one, got ('a', 'b', 'a').",
        ),
        ({"class_names": "abc"}, "toy train_targets: expected labels from 0 to 0, got 2."),
        ({"class_names": ("a", "b", 3)}, "toy class_names: expected text that can be printed, got 3."),
        ({"class_names": ("a", "b")}, "toy train_targets: expected labels from 0 to 1, got 2."),
        (
            {"train_targets": REAL},
            "toy train_targets: expected class numbers (N,) or (N, H, W)",
        ),
    ],
)
def test_names_the_part_that_is_wrong(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Dataset(**with_validation() | changes)


def test_parts_are_of_one_kind():
    for y, other in ((REAL, LABELS), (LABELS > 0, REAL), (REAL, np.stack([REAL, REAL], axis=1)), (CLASSES > 0, LABELS)):
        with refused("test y: expected targets of the same kind as in y"):
            Dataset.from_arrays(X, y, test=(X, other))


def test_parts_are_pairs():
    for part in ("test", "validation"):
        for value in (X, (X,), {"x": X, "y": CLASSES}):
            with refused(f"arrays {part}: expected a pair (x, y)", f"{part}=(x, y)."):
                Dataset.from_arrays(X, CLASSES, **{part: value})


@pytest.mark.parametrize(
    ("y", "words"), [(CLASSES, "classes"), (CLASSES > 0, "binary targets ()"), (np.ones((6, 2)), "real targets (2,)")]
)
def test_a_data_set_prints_as_its_shapes(y, words):
    text = repr(Dataset.from_arrays(X, y, test=(X[:2], y[:2]), name="mine"))
    assert text.startswith(f"<Dataset mine: train {X.shape}, test {X[:2].shape}; ")
    assert text.endswith(f"{words}>")
