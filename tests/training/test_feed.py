import numpy as np
import pytest
from PIL import Image

from tests.conftest import PRESENT
from tests.helpers import refused
from xpnet import backend as backends
from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler, Dataset
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.rows import HostRows, subset
from xpnet.errors import InputError
from xpnet.training.feed import DeviceFeed, FileFeed, HostFeed, IterableFeed, input_statistics, make_feed, stays_on_host

COUNT = 47


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3, 2, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [str(folder / f"{number}.png") for number in range(COUNT)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return ImageFiles(paths, (3, 2, 3))


@pytest.fixture(params=[library for library in PRESENT if library != "array_api_strict"])
def backend(request):
    return backends.resolve("cuda" if request.param == "cupy" else "cpu", request.param)


LABELS = np.arange(COUNT, dtype=np.int32) % 5
WEIGHTS = np.linspace(0, 2, COUNT, dtype=np.float32)
SAMPLER = BatchSampler(COUNT, 16, seed=1)  # 16, 16 and 15 images in an epoch


def assert_batch(backend, feed, step, images):
    chosen = SAMPLER.batch(step)
    for actual, expected in zip(feed.batch(step), (images, LABELS, WEIGHTS), strict=True):
        assert backends.namespace_name(actual) == backend.name
        np.testing.assert_array_equal(to_numpy(actual), expected[chosen], strict=True)


@pytest.fixture
def memory_map(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_all_feeds_give_the_batches_of_the_sampler(backend, images, files, memory_map):
    feeds = [make_feed(backend, source, LABELS, WEIGHTS, SAMPLER) for source in (images, memory_map, files)]
    assert [type(feed) for feed in feeds] == [DeviceFeed, HostFeed, FileFeed]
    for step in range(8):
        for feed in feeds:
            assert_batch(backend, feed, step, images)


def test_there_may_be_no_weights(images, files, memory_map):
    for source in (images, memory_map, files):
        assert make_feed(backends.resolve(), source, LABELS, None, SAMPLER).batch(0).weights is None


def test_real_targets_and_vectors(backend):
    x, y = np.random.default_rng(0).normal(size=(2, COUNT, 3))
    batch = make_feed(backend, x.astype(np.float32), y, None, SAMPLER).batch(1)
    np.testing.assert_array_equal(to_numpy(batch.x), x[SAMPLER.batch(1)].astype(np.float32), strict=True)
    np.testing.assert_array_equal(to_numpy(batch.y), y[SAMPLER.batch(1)], strict=True)


def test_arrays_on_the_device_are_not_copied_through_the_host(backend, images, monkeypatch):
    def to_host(array):
        assert array.shape != images.shape
        return original(array)

    x, y = backend.asarray(images), backend.asarray(LABELS)
    original = backends.to_numpy
    for module in ("backend", "datasets.arrays", "training.feed"):
        monkeypatch.setattr(f"xpnet.{module}.to_numpy", to_host)
    dataset = Dataset.from_arrays(x, y)
    batch = make_feed(backend, dataset.train_inputs, dataset.train_targets, None, SAMPLER).batch(0)
    statistics = input_statistics(dataset.train_inputs)
    some = subset(dataset.train_inputs, np.array([1, 4]))
    if backend.name != "numpy":  # so that the test could see a copy
        with pytest.raises(AssertionError):
            make_feed(backend, images, LABELS, None, SAMPLER)
    monkeypatch.undo()
    np.testing.assert_array_equal(to_numpy(batch.x), images[SAMPLER.batch(0)])
    np.testing.assert_array_equal(to_numpy(some), images[[1, 4]])
    assert statistics[0] == pytest.approx(images.mean(axis=(0, 1, 2)))


class Guarded(np.memmap):
    """A memory map of which at most 40 rows are read at once, and none by a function of NumPy's."""

    def __getitem__(self, key):
        part = np.memmap.__getitem__(self, key)
        assert part.base is self or part.shape[0] <= 40
        return np.asarray(part)

    def __array_ufunc__(self, *arguments, **settings):
        raise AssertionError("read by a ufunc")


def test_a_memory_map_is_never_read_whole(backend, tmp_path, monkeypatch):
    def move(self, array, dtype=None):
        assert array.ndim == 1 or array.shape[0] <= 40
        return original(self, array, dtype)

    original = backends.Backend.asarray
    monkeypatch.setattr(backends.Backend, "asarray", move)
    x = np.random.default_rng(0).normal(size=(3000, 5)).astype(">f4")
    np.save(tmp_path / "x.npy", x)
    guarded = np.load(tmp_path / "x.npy", mmap_mode="r").view(Guarded)
    for read in (np.sum, lambda array: array + 1, lambda array: array[np.arange(50)], backend.asarray):
        with pytest.raises(AssertionError):
            read(guarded)
    dataset = Dataset.from_arrays(guarded, np.arange(3000) % 3)
    assert dataset.train_inputs is guarded
    order = np.random.default_rng(1).permutation(3000)
    rows, sampler = subset(dataset.train_inputs, order), BatchSampler(3000, 32, seed=0)
    assert isinstance(rows, HostRows)
    for inputs, expected in ((guarded, x), (rows, x[order]), (subset(rows, order), x[order][order])):
        mean, deviation = input_statistics(inputs)
        assert mean == pytest.approx(expected[::3].mean(axis=0), abs=1e-6)
        assert deviation == pytest.approx(expected[::3].std(axis=0), rel=1e-5)
        batch = make_feed(backend, inputs, dataset.train_targets, None, sampler).batch(1)
        np.testing.assert_array_equal(to_numpy(batch.x), expected[sampler.batch(1)].astype(np.float32), strict=True)


def test_large_arrays_stay_on_the_host_unless_numpy_computes(images, monkeypatch):
    numpy, torch = backends.resolve(), backends.Backend("torch", None, "cpu")
    assert not stays_on_host(torch, images)
    assert isinstance(subset(images, np.arange(3)), np.ndarray)
    monkeypatch.setattr("xpnet.datasets.rows.LARGE_BYTES", images.nbytes - 1)
    assert stays_on_host(torch, images)
    assert not stays_on_host(numpy, images)
    assert isinstance(make_feed(torch, images, LABELS, None, SAMPLER), HostFeed)
    some = subset(images, np.arange(COUNT)[::-1])
    assert isinstance(some, HostRows)
    assert stays_on_host(numpy, some)
    assert (some.shape, some.ndim, some.size, some.dtype, len(some)) == (images.shape, 4, images.size, np.uint8, COUNT)
    np.testing.assert_array_equal(some[2:5], images[::-1][2:5], strict=True)


def test_a_batch_that_is_not_finite_names_the_example(tmp_path):
    x = np.ones((COUNT, 2), np.float32)
    x[SAMPLER.batch(1)[3], 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    feed = make_feed(backends.resolve(), np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS, None, SAMPLER)
    feed.batch(0)
    with refused(
        f"Training inputs: expected finite numbers, got NaN or infinity in 1 of 16 rows, first in row "
        f"{SAMPLER.batch(1)[3]}."
    ):
        feed.batch(1)


def test_files_can_be_fed_from_any_step(images, files):
    feed = FileFeed(backends.resolve(), files, LABELS, WEIGHTS, SAMPLER)
    for step in (7, 8, 9, 2, 2, 3, 100, 101):
        assert_batch(backends.resolve(), feed, step, images)


def test_a_few_batches_are_decoded_ahead_and_each_once(images, files, monkeypatch):
    started = []

    def start(self, key):
        started.append(key.tolist())
        return original(self, key)

    original = ImageFiles.start
    monkeypatch.setattr(ImageFiles, "start", start)
    feed = FileFeed(backends.resolve(), files, LABELS, WEIGHTS, SAMPLER)
    for step in range(6):
        feed.batch(step)
        assert started == [SAMPLER.batch(ahead).tolist() for ahead in range(step + 5)]


def test_a_subset_of_files_is_not_decoded(backend, images, files, monkeypatch):
    indices = np.array([3, 1, 2])
    np.testing.assert_array_equal(to_numpy(subset(backend.asarray(images), indices)), images[indices])
    monkeypatch.setattr(ImageFiles, "start", None)
    some = subset(files, indices)
    assert some.shape == (3, 3, 2, 3)
    monkeypatch.undo()
    np.testing.assert_array_equal(some[:], images[indices])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", "bool"])
def test_mean_and_deviation_of_arrays(backend, dtype, monkeypatch):
    monkeypatch.setattr("xpnet.training.feed._BLOCK", 64)
    monkeypatch.setattr("xpnet.training.feed._DEVICE_BLOCK", 64)
    for shape in ((200, 3), (50, 4, 3), (20, 3, 2, 3)):
        x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
        x[:] = x + np.array([0, 5, 0], x.dtype) if dtype != "bool" else x
        axes = tuple(range(len(shape) - 1))
        mean, deviation = input_statistics(backend.asarray(x))
        assert mean.dtype == deviation.dtype == np.float64
        assert mean == pytest.approx(x.mean(axis=axes, dtype=np.float64), rel=1e-12)
        assert deviation == pytest.approx(x.std(axis=axes, dtype=np.float64), rel=1e-12)


def test_the_deviation_of_values_far_from_zero():
    x = np.random.default_rng(0).normal(1e9, 1, (5000, 40))
    assert input_statistics(x)[1] == pytest.approx(x.std(axis=0), rel=1e-6)
    assert input_statistics(np.full((5, 2), 3.0))[1].tolist() == [0, 0]


def test_where_there_is_no_float64_statistics_are_computed_in_float32(monkeypatch):
    def dtype(self, name):
        if name == "float64":
            raise InputError("none here")
        return np.dtype(name)

    monkeypatch.setattr(backends.Backend, "dtype", dtype)
    x = np.random.default_rng(0).normal(5, 2, (5000, 4))
    mean, deviation = input_statistics(x)
    assert mean == pytest.approx(x.mean(axis=0), rel=1e-5)
    assert deviation == pytest.approx(x.std(axis=0), rel=1e-5)


def test_mean_and_deviation_of_files(images, files):
    mean, deviation = input_statistics(files)
    assert mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert deviation == pytest.approx(images.std(axis=(0, 1, 2)))


def test_of_many_files_a_thousand_are_read_evenly_spaced(images, files, monkeypatch):
    numbers = np.arange(1500) // 300  # sorted by class, as folders are
    read, original = [], ImageFiles.start
    monkeypatch.setattr(ImageFiles, "start", lambda self, key: read.extend(self.paths[key]) or original(self, key))
    mean = input_statistics(files.subset(numbers))[0]
    assert len(read) == 1000
    assert mean == pytest.approx(images[numbers].mean(axis=(0, 1, 2)))


BATCHES = [
    (np.full((3, 2), n, np.float32), np.array([n % 2, 1, 0]), np.array([1.0, 0.5, n], np.float32)) for n in range(4)
]


def assert_iterated(backend, feed, step, expected):
    for actual, value, dtype in zip(feed.batch(step), expected, ("float32", "int32", "float32"), strict=True):
        assert backends.namespace_name(actual) == backend.name
        np.testing.assert_array_equal(to_numpy(actual), value.astype(dtype), strict=True)


def test_an_iterable_is_iterated_over_again_when_it_ends(backend):
    feed = IterableFeed(backend, BATCHES, (2,), 2)
    for step in range(10):
        assert_iterated(backend, feed, step, BATCHES[step % 4])


def test_batches_of_the_networks_library_are_taken_as_they_are(backend):
    batches = [tuple(map(backend.asarray, batch)) for batch in BATCHES]
    assert_iterated(backend, IterableFeed(backend, batches, (2,), 2), 0, BATCHES[0])
    x = IterableFeed(backend, iter(batches), (2,), 2).batch(0).x
    assert x is batches[0][0] or np.shares_memory(to_numpy(x), to_numpy(batches[0][0]))


def test_a_later_step_is_reached_by_leaving_out_batches():
    feed = IterableFeed(backends.resolve(), iter(BATCHES), (2,), 2)
    assert_iterated(backends.resolve(), feed, 2, BATCHES[2])
    assert_iterated(backends.resolve(), feed, 3, BATCHES[3])
    with refused("Batches: expected step 3 or the next, got 2."):
        feed.batch(2)


@pytest.mark.parametrize("batches", [iter(BATCHES[:2]), (batch for batch in BATCHES[:2])])
def test_a_generator_that_ends_early(batches):
    feed = IterableFeed(backends.resolve(), batches, (2,), 2)
    feed.batch(0), feed.batch(1)
    with refused("Batches", "a batch for step 3", "got the end of the iterable"):
        feed.batch(2)


def test_an_empty_iterable_and_what_is_not_iterable():
    with refused("Batches: expected a batch for step 1, got the end"):
        IterableFeed(backends.resolve(), [], (2,)).batch(0)
    with refused("Batches: expected an iterable of pairs (x, y), got int."):
        IterableFeed(backends.resolve(), 3, (2,))


def test_other_batches():
    x = np.zeros((3, 4, 4), np.uint8)
    y = np.array([0.5, 1, 2])
    batch = IterableFeed(backends.resolve(), [[x, y]], (4, 4, 1)).batch(0)
    assert batch.x.shape == (3, 4, 4, 1)
    np.testing.assert_array_equal(batch.y, y, strict=True)
    assert batch.weights is None
    assert IterableFeed(backends.resolve(), [(x, y, None)], (4, 4, 1)).batch(0).weights is None
    lists = IterableFeed(backends.resolve(), [([[1, 2], [3, 4]], [True, False])], (2,)).batch(0)
    assert (lists.x.tolist(), lists.y.tolist()) == ([[1, 2], [3, 4]], [True, False])


X, Y, W = BATCHES[1]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (X, "Batch 1: expected (x, y) or (x, y, weights), got ndarray."),
        ((X,), "Batch 1: expected (x, y) or (x, y, weights), got 1 items."),
        ((X, Y, W, W), "Batch 1: expected (x, y) or (x, y, weights), got 4 items."),
        ((X[:, :1], Y), "Batch 1, x: expected inputs of shape (2,), got (1,)."),
        ((X[:0], Y[:0]), "Batch 1, x: expected at least one example"),
        ((X, Y[:2]), "Batch 1, y: expected 3 targets, one for each example of x, got 2."),
        ((X, 1), "Batch 1, y: expected 3 targets, one for each example of x, got 0."),
        ((X * np.nan, Y), "Batch 1, x: expected finite numbers, got NaN or infinity in 3 of 3 rows, first in row 0."),
        ((X, Y / np.float32(1) + np.inf), "Batch 1, y: expected finite numbers"),
        ((X, Y + 1), "Batch 1, y: expected labels from 0 to 1, got 2."),
        ((X, Y - 1), "Batch 1, y: expected labels from 0 to 1, got -1."),
        ((X, ["a", "b", "a"]), "Batch 1, y: expected a dense array of real numbers, got <U1."),
        ((X.astype(str), Y), "Batch 1, x: expected a dense array of real numbers"),
        ((X, Y, W[:2]), "Batch 1: expected sample_weight of shape (3,), one for each example, got (2,)."),
        ((X, Y, -W), "Batch 1: expected sample_weight to be finite and at least 0, got -1.0 to -0.5."),
        ((X, Y, W * np.nan), "Batch 1: expected sample_weight to be finite and at least 0, got nan to nan."),
    ],
)
def test_batches_that_are_refused(item, message):
    feed = IterableFeed(backends.resolve(), [BATCHES[0], item], (2,), 2)
    feed.batch(0)
    with np.errstate(invalid="ignore"), refused(message):
        feed.batch(1)


def test_batches_of_two_libraries_are_refused():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    with refused("Batch 0, y", "all arrays of a data set in one library", "torch"):
        IterableFeed(backends.resolve(), [(X, torch.asarray(Y))], (2,), 2).batch(0)
