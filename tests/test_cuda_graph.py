"""Steps that are recorded and replayed, on a fake CuPy (``tests/fake_cupy.py``).

These tests prove what is copied where and when, and that everything that changes reaches a replay. They do not prove
that CuPy, cuDNN or cuBLAS can be recorded, that the memory of a recording stays its own, or that streams wait for
each other: ``scripts/check_gpu.py`` looks at that on a GPU.
"""

import logging

import numpy as np
import pytest

from tests.helpers import assert_same_bits, refused
from xpnet.backend import resolve
from xpnet.compile import graphed
from xpnet.cuda_graph import GraphedStep
from xpnet.layers import BatchNorm, Dense, Dropout, Flatten, Normalize, ReLU, Sequential
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS, SGD, Adam, Momentum
from xpnet.random import make_key
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step

KEY = make_key(0)


def make_network():
    layers = [Normalize(), Flatten(), Dense(6), BatchNorm(), ReLU(), Dropout(0.4), Dense(3)]
    return Network(Sequential(layers), (4, 4, 1))


def first_values(network, optimizer):
    return TrainState(network.theta, network.state, optimizer.init(network.theta))


def batch(iteration, count=5):
    rng = np.random.default_rng(iteration)
    return rng.integers(0, 256, (count, 4, 4, 1), np.uint8), rng.integers(0, 3, count, np.int32)


def follow(step, graphed_step, values, counts, lr_scale=lambda iteration: 0.03 * 0.9**iteration, decay_mask=1.0):
    """Run both side by side on batches of these sizes and compare everything after every step."""
    ours = theirs = values
    for iteration, count in enumerate(counts):
        arguments = (*batch(iteration, count), None, KEY, iteration, lr_scale(iteration), decay_mask)
        ours, metrics = graphed_step(ours, *arguments)
        theirs, expected = step(theirs, *arguments)
        assert_same_bits((ours, metrics), (theirs, expected))
    return ours


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_steps_are_the_same_bit_for_bit(fake_cupy, optimizer):
    network = make_network()
    optimizer = OPTIMIZERS[optimizer](learning_rate=1.0, weight_decay=0.01)
    step = make_step(network, optimizer, accuracy, clip_norm=1.0)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 100)
    assert fake_cupy.calls.count("launch") == 99


def test_what_is_done_and_in_what_order(fake_cupy):
    network, optimizer = make_network(), Momentum(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 3)
    assert fake_cupy.calls == [
        "Stream(non_blocking=True)",
        "synchronize device",
        "use stream",
        "use pool",
        "synchronize stream",
        "begin_capture",
        "end_capture",
        "leave pool",
        "leave stream",
        "launch",
        "launch",
    ]


def test_the_warm_up_changes_nothing(fake_cupy):
    """Only the replays may act: with the rate at 0 but for the last step, the values stay until then."""
    network, optimizer = make_network(), SGD(1.0)
    step = GraphedStep(make_step(network, optimizer, accuracy), fake_cupy)
    values, theta = first_values(network, optimizer), network.theta.copy()
    for iteration in range(4):
        values, _ = step(values, *batch(iteration), None, KEY, iteration, 0.0)
        np.testing.assert_array_equal(values.theta, theta)
    values, _ = step(values, *batch(4), None, KEY, 4, 1.0)
    assert not np.array_equal(values.theta, theta)
    np.testing.assert_array_equal(network.theta, theta)


def test_batch_key_and_iteration_reach_a_replay(fake_cupy):
    network, optimizer = make_network(), SGD(0.0)
    step = GraphedStep(make_step(network, optimizer, accuracy), fake_cupy)
    values = first_values(network, optimizer)

    def loss(seed, key, iteration):
        nonlocal values
        values, metrics = step(values, *batch(seed), None, key, iteration)
        return float(metrics.loss)

    first = [loss(0, KEY, 0) for _ in range(4)]
    assert len(set(first)) == 1
    changed = [loss(1, KEY, 0), loss(0, make_key(1), 0), loss(0, KEY, 1)]
    assert len({*first, *changed}) == 4
    assert loss(0, KEY, 0) == first[0]


def test_the_odd_batch_is_not_recorded(fake_cupy):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5, 5, 5, 2] * 4)
    assert fake_cupy.calls.count("begin_capture") == 1
    assert fake_cupy.calls.count("launch") == 11


def test_a_run_may_begin_with_the_odd_batch(fake_cupy):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [2, 5, 5, 5])
    assert fake_cupy.calls.count("launch") == 2


def test_each_shape_that_comes_twice_in_a_row_has_a_graph(fake_cupy):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5, 5, 5, 2, 2, 2, 5, 2, 5, 3])
    assert fake_cupy.calls.count("begin_capture") == 2
    assert fake_cupy.calls.count("launch") == 7


def test_decays_may_be_a_vector_and_parameters_frozen(fake_cupy):
    network, optimizer = make_network(), Momentum(1.0, weight_decay=0.1)
    network.freeze("dense1.*")
    decay_mask = network.mask(lambda name: name.endswith("weight"))
    step = make_step(network, optimizer, accuracy)
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 6, decay_mask=decay_mask)
    assert fake_cupy.calls.count("launch") == 5


def test_other_decays_are_another_graph(fake_cupy):
    """A number of them is baked in, where a kernel would take an array to have one for each parameter."""
    network, optimizer = make_network(), Momentum(1.0, weight_decay=0.1)
    step = make_step(network, optimizer, accuracy)
    graphed_step = GraphedStep(step, fake_cupy)
    values = follow(step, graphed_step, first_values(network, optimizer), [5] * 3)
    follow(step, graphed_step, values, [5] * 3, decay_mask=0.0)
    assert fake_cupy.calls.count("begin_capture") == 2


def test_what_cannot_be_recorded_is_computed_step_by_step_and_said_once(fake_cupy, caplog):
    network, optimizer = make_network(), Adam(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(*args, **kwargs):
        if fake_cupy.is_capturing:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return plain(*args, **kwargs)

    follow(plain, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 6)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert message == (
        "CUDA graph: training goes on without one, step by step as with --no-graph (calling cuBLAS API during stream "
        "capture is currently unsupported). Convolutions can be recorded with --kernels cudnn only."
    )
    assert fake_cupy.calls.count("end_capture") == 1
    assert "launch" not in fake_cupy.calls


def test_a_recording_that_cannot_be_ended_is_given_up(fake_cupy, caplog):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    end = fake_cupy.cuda.Stream.end_capture

    def fail(stream):
        end(stream)
        raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed\ndue to a previous error")

    fake_cupy.cuda.Stream.end_capture = fail
    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 4)
    assert "(cudaErrorStreamCaptureInvalidated: operation failed due to a previous error)" in caplog.text
    assert "launch" not in fake_cupy.calls


def test_a_replay_that_differs_from_the_step_is_given_up(fake_cupy, caplog):
    """Here the iteration is read by Python, so that its value is baked in."""
    network, optimizer = make_network(), SGD(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(state, x, targets, weights, key, iteration, lr_scale, decay_mask):
        return plain(state, x, targets, weights, key, int(iteration), lr_scale, decay_mask)

    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 4)
    assert "its first step differs in theta by" in caplog.text
    assert fake_cupy.calls.count("launch") == 1


def test_a_replay_that_differs_beside_theta_is_given_up(fake_cupy, caplog):
    """Here the number of steps, which the optimizer keeps, is baked in."""
    network, optimizer = make_network(), Adam(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(state, x, targets, weights, key, iteration, lr_scale, decay_mask):
        new, metrics = plain(state, x, targets, weights, key, iteration, lr_scale, decay_mask)
        steps = state.optimizer["steps"] * 0 + (int(iteration) + 1)
        return new._replace(optimizer={**new.optimizer, "steps": steps}), metrics

    follow(step, GraphedStep(step, fake_cupy), first_values(network, optimizer), [5] * 4)
    assert "its first step differs in optimizer.steps by" in caplog.text


def test_only_cupy_has_graphs():
    with refused("CUDA graph", "CuPy", "numpy", "--no-graph"):
        graphed(make_step, resolve("cpu"))
