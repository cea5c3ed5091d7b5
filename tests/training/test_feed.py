import numpy as np
import pytest
from PIL import Image

from xpnet import backend as backends
from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler
from xpnet.datasets.image_files import ImageFiles
from xpnet.training.feed import DeviceFeed, FileFeed, channel_means, make_feed, subset

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


@pytest.fixture(params=["numpy", "torch", "jax"])
def backend(request):
    if request.param != "numpy":
        pytest.importorskip(request.param, exc_type=ImportError)
    return backends.resolve("cpu", request.param)


LABELS = np.arange(COUNT, dtype=np.int32) % 5
SAMPLER = BatchSampler(COUNT, 16, seed=1)  # 16, 16 and 15 images in an epoch


def assert_batch(backend, feed, step, images):
    chosen = SAMPLER.batch(step)
    batch, labels = feed.batch(step)
    assert backends.namespace_name(batch) == backends.namespace_name(labels) == backend.name
    np.testing.assert_array_equal(to_numpy(batch), images[chosen], strict=True)
    np.testing.assert_array_equal(to_numpy(labels), LABELS[chosen], strict=True)


def test_both_feeds_give_the_batches_of_the_sampler(backend, images, files):
    feeds = make_feed(backend, images, LABELS, SAMPLER), make_feed(backend, files, LABELS, SAMPLER)
    assert [type(feed) for feed in feeds] == [DeviceFeed, FileFeed]
    for step in range(8):
        for feed in feeds:
            assert_batch(backend, feed, step, images)


def test_files_can_be_fed_from_any_step(images, files):
    feed = FileFeed(backends.resolve(), files, LABELS, SAMPLER)
    for step in (7, 8, 9, 2, 2, 3, 100, 101):
        assert_batch(backends.resolve(), feed, step, images)


def test_a_few_batches_are_decoded_ahead_and_each_once(images, files, monkeypatch):
    started = []

    def start(self, key):
        started.append(key.tolist())
        return original(self, key)

    original = ImageFiles.start
    monkeypatch.setattr(ImageFiles, "start", start)
    feed = FileFeed(backends.resolve(), files, LABELS, SAMPLER)
    for step in range(6):
        feed.batch(step)
        assert started == [SAMPLER.batch(ahead).tolist() for ahead in range(step + 5)]


def test_a_subset_of_files_is_not_decoded(images, files, monkeypatch):
    indices = np.array([3, 1, 2])
    np.testing.assert_array_equal(subset(images, indices), images[indices])
    monkeypatch.setattr(ImageFiles, "start", None)
    some = subset(files, indices)
    assert some.shape == (3, 3, 2, 3)
    monkeypatch.undo()
    np.testing.assert_array_equal(some[:], images[indices])


def test_channel_means(images, files):
    expected = images.astype(np.float64).mean(axis=(0, 1, 2))
    assert channel_means(images) == pytest.approx(expected)
    assert channel_means(files) == pytest.approx(expected)


def test_channel_means_of_many_files_are_those_of_the_first_thousand(images, files):
    first = np.arange(1500) % 7
    first[1000:] = 8
    assert channel_means(files.subset(first)) == pytest.approx(images[first[:1000]].mean(axis=(0, 1, 2)))
