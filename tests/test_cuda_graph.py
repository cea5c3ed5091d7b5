"""Steps that are recorded and replayed on a CUDA device: what is copied where and when, and what reaches a replay."""

import logging

import numpy as np
import pytest

from tests.emulated_cuda.records import IS_EMULATED, recorded
from tests.helpers import assert_same_bits, refused
from xpnet.backend import resolve, to_numpy
from xpnet.compile import graphed
from xpnet.layers import BatchNorm, Dense, Dropout, Flatten, Normalize, ReLU, Sequential
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS, SGD, Adam, Momentum
from xpnet.random import make_key
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step


def key(seed=0):
    return on_device(make_key(seed))


def make_network():
    layers = [Normalize(), Flatten(), Dense(6), BatchNorm(), ReLU(), Dropout(0.4), Dense(3)]
    return Network(Sequential(layers), (4, 4, 1), device="cuda")


def first_values(network, optimizer):
    return TrainState(network.theta, network.state, optimizer.init(network.theta))


def on_device(array):
    return resolve("cuda").asarray(array)


def batch(iteration, count=5):
    rng = np.random.default_rng(iteration)
    return on_device(rng.integers(0, 256, (count, 4, 4, 1), np.uint8)), on_device(rng.integers(0, 3, count, np.int32))


def follow(step, graphed_step, values, counts, lr_scale=lambda iteration: 0.03 * 0.9**iteration, decay_mask=1.0):
    """Run both side by side on batches of these sizes and compare everything after every step."""
    ours = theirs = values
    for iteration, count in enumerate(counts):
        arguments = (*batch(iteration, count), None, key(), iteration, lr_scale(iteration), decay_mask)
        ours, metrics = graphed_step(ours, *arguments)
        theirs, expected = step(theirs, *arguments)
        assert_same_bits((ours, metrics), (theirs, expected))
    return ours


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_steps_are_the_same_bit_for_bit(graphs, optimizer):
    network = make_network()
    optimizer = OPTIMIZERS[optimizer](learning_rate=1.0, weight_decay=0.01)
    step = make_step(network, optimizer, accuracy, clip_norm=1.0)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 100)
    assert graphs["replays"] == 99


@pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")
def test_a_replay_is_one_launch_of_a_graph_and_the_copies_of_what_is_new(graphs):
    network, optimizer = make_network(), Momentum(1.0)
    plain = make_step(network, optimizer, accuracy)
    step = graphed(plain, resolve("cuda"))
    values = follow(plain, step, first_values(network, optimizer), [5] * 3)
    arguments = (*batch(3), None, key(), 3, 0.1)
    with recorded() as record:
        step(values, *arguments)
    assert record.count("graph") == 1, str(record)
    assert record.count("launch") + record.count("on device") + record.count("to device") <= 10, str(record)
    assert record.count("wait") == record.count("to host") == 0, str(record)


def test_the_warm_up_changes_nothing(graphs):
    """Only the replays may act: with the rate at 0 but for the last step, the values stay until then."""
    network, optimizer = make_network(), SGD(1.0)
    step = graphed(make_step(network, optimizer, accuracy), resolve("cuda"))
    values, theta = first_values(network, optimizer), network.theta.copy()
    for iteration in range(4):
        values, _ = step(values, *batch(iteration), None, key(), iteration, 0.0)
        assert_same_bits(values.theta, theta)
    values, _ = step(values, *batch(4), None, key(), 4, 1.0)
    assert not np.array_equal(to_numpy(values.theta), to_numpy(theta))
    assert_same_bits(network.theta, theta)


def test_batch_key_and_iteration_reach_a_replay(graphs):
    network, optimizer = make_network(), SGD(0.0)
    step = graphed(make_step(network, optimizer, accuracy), resolve("cuda"))
    values = first_values(network, optimizer)

    def loss(seed, its_key, iteration):
        nonlocal values
        values, metrics = step(values, *batch(seed), None, its_key, iteration)
        return float(metrics.loss)

    first = [loss(0, key(), 0) for _ in range(4)]
    assert len(set(first)) == 1
    changed = [loss(1, key(), 0), loss(0, key(1), 0), loss(0, key(), 1)]
    assert len({*first, *changed}) == 4
    assert loss(0, key(), 0) == first[0]


def test_the_odd_batch_is_not_recorded(graphs):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5, 5, 5, 2] * 4)
    assert graphs["recordings"] == 1
    assert graphs["replays"] == 11


def test_a_run_may_begin_with_the_odd_batch(graphs):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [2, 5, 5, 5])
    assert graphs["replays"] == 2


def test_each_shape_that_comes_twice_in_a_row_has_a_graph(graphs):
    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5, 5, 5, 2, 2, 2, 5, 2, 5, 3])
    assert graphs["recordings"] == 2
    assert graphs["replays"] == 7


def test_decays_may_be_a_vector_and_parameters_frozen(graphs):
    network, optimizer = make_network(), Momentum(1.0, weight_decay=0.1)
    network.freeze("dense1.*")
    decay_mask = network.mask(lambda name: name.endswith("weight"))
    step = make_step(network, optimizer, accuracy)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 6, decay_mask=decay_mask)
    assert graphs["replays"] == 5


def test_other_decays_are_another_graph(graphs):
    """A number of them is baked in, where a kernel would take an array to have one for each parameter."""
    network, optimizer = make_network(), Momentum(1.0, weight_decay=0.1)
    step = make_step(network, optimizer, accuracy)
    graphed_step = graphed(step, resolve("cuda"))
    values = follow(step, graphed_step, first_values(network, optimizer), [5] * 3)
    follow(step, graphed_step, values, [5] * 3, decay_mask=0.0)
    assert graphs["recordings"] == 2


def test_what_cannot_be_recorded_is_computed_step_by_step_and_said_once(graphs, caplog):
    import cupy

    network, optimizer = make_network(), Adam(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(*args, **kwargs):
        if cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return plain(*args, **kwargs)

    follow(plain, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 6)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert message == (
        "CUDA graph: training goes on without one, step by step (calling cuBLAS API during stream capture is currently "
        "unsupported)."
    )
    assert graphs["replays"] == 0


def test_a_recording_that_cannot_be_ended_is_given_up(graphs, caplog, monkeypatch):
    import cupy

    network, optimizer = make_network(), Adam(1.0)
    step = make_step(network, optimizer, accuracy)
    end = cupy.cuda.Stream.end_capture

    def fail(stream):
        end(stream)
        raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed\ndue to a previous error")

    monkeypatch.setattr(cupy.cuda.Stream, "end_capture", fail)
    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 4)
    assert "(cudaErrorStreamCaptureInvalidated: operation failed due to a previous error)" in caplog.text
    assert graphs["replays"] == 0


def test_a_replay_that_differs_from_the_step_is_given_up(graphs, caplog):
    """Here the iteration is the first one's for a recording, as a number that is baked in would be."""
    network, optimizer = make_network(), SGD(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(state, x, targets, weights, key, iteration, lr_scale, decay_mask):
        iteration = iteration if isinstance(iteration, int) else 0
        return plain(state, x, targets, weights, key, iteration, lr_scale, decay_mask)

    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 4)
    assert "its first step differs in theta by" in caplog.text
    assert graphs["replays"] == 1


def test_a_replay_that_differs_beside_theta_is_given_up(graphs, caplog):
    """Here the number of steps, which the optimizer keeps, is baked in as the first one's."""
    network, optimizer = make_network(), Adam(1.0)
    plain = make_step(network, optimizer, accuracy)

    def step(state, x, targets, weights, key, iteration, lr_scale, decay_mask):
        new, metrics = plain(state, x, targets, weights, key, iteration, lr_scale, decay_mask)
        steps = state.optimizer["steps"] * 0 + (iteration + 1 if isinstance(iteration, int) else 1)
        return new._replace(optimizer={**new.optimizer, "steps": steps}), metrics

    follow(step, graphed(step, resolve("cuda")), first_values(network, optimizer), [5] * 4)
    assert "its first step differs in optimizer.steps by" in caplog.text


def test_only_cupy_has_graphs():
    with refused("CUDA graph", "CuPy", "numpy", "Leave graph out"):
        graphed(make_step, resolve("cpu"))
