"""oneDNN in a process that goes on: failures, memory, threads, forks, the same bits."""

import gc
import itertools
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import naive
from tests.kernels.test_onednn import PAIRS, SAME, integers, normal
from xpnet import kernels, models
from xpnet.kernels import onednn_kernels, onednn_library, onednn_loading, onednn_running, sharing, table
from xpnet.layers import AvgPool2D, BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from xpnet.network import Network

pytestmark = pytest.mark.skipif(not onednn_kernels.is_available(), reason="oneDNN is not here")


@pytest.fixture
def failing(monkeypatch):
    """Lets the primitive of a number, counted from now, fail and all that follow; counts those that run."""
    monkeypatch.setattr(onednn_running, "_has_failed", False)
    table._say.cache_clear()
    run, counted = onednn_library.Plan.run, itertools.count()

    def fail_from(number):
        def run_or_fail(self, *arrays):
            if next(counted) >= number:
                raise onednn_library.OneDNNError("dnnl_primitive_execute returned 1")
            run(self, *arrays)

        monkeypatch.setattr(onednn_library.Plan, "run", run_or_fail)
        return counted

    yield fail_from
    table._say.cache_clear()


def test_a_primitive_that_fails_is_replaced_and_that_is_said_once(failing):
    x, weight = integers(2, 6, 6, 4), integers(4, 3, 3, 4)
    failing(0)
    with pytest.warns(RuntimeWarning, match="oneDNN failed") as said:
        y = kernels.conv2d(x, weight, None, SAME)
    np.testing.assert_array_equal(y, naive.conv2d(x, weight, SAME))
    kernels.conv2d(x, weight, None, SAME)
    kernels.max_pool2d(x, PAIRS)
    assert len(said) == 1


LAYERS = [Conv2D(4, 3), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(4, 2), ReLU(), AvgPool2D(2), Flatten(), Dense(3)]
RUNS = 11  # forward: two convolutions, normalisation, two poolings; backward the same, and dx of the second convolution


@pytest.mark.parametrize("number", range(RUNS + 1))
def test_a_step_goes_on_wherever_a_primitive_fails(failing, number):
    network = Network(LAYERS, (12, 12, 2), seed=0)
    step = network.theta, network.state, normal(4, 12, 12, 2), np.arange(4, dtype=np.int32) % 3
    with kernels.using("pure"):
        expected = network.loss_and_gradient(*step)
    counted = failing(number)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = [network.loss_and_gradient(*step) for _ in range(2 if number < RUNS else 1)]
    for result in results:
        np.testing.assert_allclose(result.gradient, expected.gradient, atol=1e-5)
        np.testing.assert_allclose(result.state["bn1"]["running_var"], expected.state["bn1"]["running_var"], rtol=1e-5)
    assert [str(one.message)[:13] for one in said] == ["oneDNN failed"] * (number < RUNS)
    if number == RUNS:
        assert next(counted) == RUNS


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def train(steps, sizes=(6,)):
    weight, bias = integers(8, 3, 3, 4), integers(8)
    for step in range(steps):
        size = sizes[step % len(sizes)]
        x = integers(2, size, size, 4)
        y, winners = kernels.max_pool2d_with_winners(kernels.conv2d(x, weight, bias, SAME), PAIRS)
        dy = kernels.max_pool2d_input_gradient(y, winners, PAIRS, (size, size))
        kernels.conv2d_backward(x, dy, weight, SAME)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_neither_steps_nor_ever_new_sizes_fill_the_memory(monkeypatch):
    """Plans that are no longer kept are given back; a kilobyte lost in each step would be 3 MB."""
    monkeypatch.setattr(onednn_running, "_MOST_PLANS", 8)
    monkeypatch.setattr(onednn_running, "_mine", onednn_running._Mine())
    sizes = range(4, 24, 2)
    train(300, sizes)
    gc.collect()
    before = resident_bytes()
    train(3000)
    train(600, sizes)
    gc.collect()
    assert resident_bytes() - before < 3e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_a_network_that_trains_and_predicts_does_not_fill_the_memory():
    """A kilobyte lost in each step would be 2 MB."""
    network = Network(LAYERS, (12, 12, 2), seed=0)
    images, labels = normal(4, 12, 12, 2), np.arange(4, dtype=np.int32) % 3

    def train(steps):
        for _ in range(steps):
            network.loss_and_gradient(network.theta, network.state, images, labels)
            network(images)
        gc.collect()
        return resident_bytes()

    before = train(200)
    assert train(2000) - before < 1e6


@pytest.fixture
def two_threads():
    sharing.set_threads(2)
    yield
    sharing.set_threads(1)


def test_openmp_has_as_many_threads_as_before_afterwards(two_threads):
    library = onednn_loading.load()
    before = library.threads()
    library.set_threads(3)
    try:
        kernels.conv2d(integers(2, 6, 6, 4), integers(4, 3, 3, 4), None, SAME)
        assert library.threads() == 3
    finally:
        library.set_threads(before)


DIGEST = """
import hashlib, sys
from xpnet import kernels
from xpnet.runs.settings import make_run
trainer = make_run(
    "mnist_starter", iterations=5, limit=100, threads=int(sys.argv[1]), deterministic=sys.argv[2] == "deterministic"
).make_trainer()
assert kernels.versions("numpy")["oneDNN"] != "none"
trainer.run()
print(hashlib.sha256(trainer.network.theta.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("settings", [("1", ""), ("2", ""), ("2", "deterministic")])
def test_the_same_bits_from_run_to_run(settings):
    command = [sys.executable, "-c", DIGEST, *settings]
    digests = {subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize("model", ["mnist_starter", "cifar10_starter"])  # of the latter a convolution takes in its ReLU
def test_several_threads_predict_at_once(model):
    layers = models.create(model)
    network = Network(layers.layer, layers.input_shape, seed=0)
    batches = [normal(count, *layers.input_shape, seed=count) for count in (1, 2, 3, 4)]
    expected = [network(batch) for batch in batches]
    barrier = threading.Barrier(4)

    def predict(number):
        barrier.wait()
        return [network(batches[number]) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for right, found in zip(expected, pool.map(predict, range(4)), strict=True):
            for actual in found:
                np.testing.assert_array_equal(actual, right)


FORKED = """
import os, signal, sys
import numpy as np
from xpnet import Runtime, kernels
from xpnet.shapes import Window
Runtime(threads=2).configure()
x, weight = np.ones((32, 28, 28, 16), np.float32), np.ones((16, 3, 3, 16), np.float32)
y = kernels.conv2d(x, weight, None, Window((3, 3)))
child = os.fork()
if child == 0:
    signal.alarm(30)
    same = np.array_equal(kernels.conv2d(x, weight, None, Window((3, 3))), y)
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
assert np.array_equal(kernels.conv2d(x, weight, None, Window((3, 3))), y)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_computes():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)
