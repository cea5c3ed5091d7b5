from dataclasses import dataclass

import numpy as np
import pytest

from xpnet.errors import InputError
from xpnet.gradcheck import TOLERANCE, check_layer, check_loss, check_network, separated_values
from xpnet.layers import Backward, Conv2D, Dense, Flatten, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.layers.examples import EXAMPLES
from xpnet.layout import walk
from xpnet.losses import SoftmaxCrossEntropy
from xpnet.network import Network

ALL = 10_000  # more entries than any tensor here has


def wrong(entries):
    return {entry.name for entry in entries if not entry.relative_difference <= TOLERANCE}


def small_network(**settings):
    blocks = [Conv2D(3, 3, padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(4)]
    network = Network(Sequential(blocks), (4, 6, 2), **settings)
    rng = np.random.default_rng(1)
    return network, separated_values(rng, (3, 4, 6, 2)), rng.integers(0, 4, 3)


# What is right passes.


@pytest.mark.parametrize(("layer", "input_shape"), EXAMPLES, ids=str)
def test_every_entry_of_every_layer(layer, input_shape):
    entries = check_layer(layer, input_shape, entries=ALL)
    assert not wrong(entries)
    params = dict(walk(layer.init(np.random.default_rng(0), input_shape).params))
    if not isinstance(layer, Sequential):
        assert {entry.name for entry in entries} == {"x", *params}
        assert len(entries) == 2 * np.prod(input_shape) + sum(tensor.size for tensor in params.values())


def test_loss():
    logits = 3 * np.random.default_rng(0).standard_normal((6, 4))
    entries = check_loss(SoftmaxCrossEntropy(), logits, np.array([0, 3, 1, 1, 2, 0]), entries=ALL)
    assert len(entries) == 24
    assert not wrong(entries)


def test_network_is_checked_and_not_changed():
    network, images, labels = small_network(dtype="float64")
    before = network.theta.copy()
    entries = check_network(network, images, labels, entries=7)
    assert not wrong(entries)
    assert {entry.name for entry in entries} == {"conv1.weight", "conv1.bias", "dense1.weight", "dense1.bias"}
    assert len(entries) == 7 + 3 + 7 + 4
    assert np.array_equal(network.theta, before)


def test_arrays_live_on_the_backend_asked_for():
    torch = pytest.importorskip("torch")
    seen = []

    class Spy(Dense):
        def forward(self, params, state, x, *, train=False, key=None):
            seen.extend([x, *params.values()])
            return super().forward(params, state, x, train=train, key=key)

    class SpyLoss(SoftmaxCrossEntropy):
        def forward(self, outputs, targets, weights=None):
            seen.append(outputs)
            return super().forward(outputs, targets, weights)

    assert not wrong(check_layer(Spy(3), (4,), backend="torch"))
    assert not wrong(check_loss(SpyLoss(), np.ones((3, 2)), np.array([0, 1, 0]), backend="torch"))
    network, images, labels = small_network(dtype="float64", backend="torch", loss=SpyLoss())
    assert not wrong(check_network(network, images, labels))
    assert all(isinstance(array, torch.Tensor) and array.dtype == torch.float64 for array in seen)


# What is wrong does not.


def change(kind, **changes):
    """A layer kind whose backward is right but for some gradients, each replaced by a function of (right, dy)."""

    @dataclass(frozen=True)
    class Changed(kind):
        def backward(self, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(params, cache, dy, need_dx=need_dx)
            right = {"x": dx, **grads}
            right |= {name: function(right[name], dy) for name, function in changes.items()}
            return Backward(right.pop("x"), right)

    return Changed


def shift_last(gradient, dy):
    gradient = gradient.copy()
    gradient.flat[-1] += 1e-3
    return gradient


BROKEN = {
    "scaled": (change(Dense, weight=lambda g, dy: 1.0001 * g)(3), (4,), {"weight"}),
    "bias gradient lacks a factor": (change(Dense, bias=lambda g, dy: g / dy.shape[0])(3), (4,), {"bias"}),
    "sign": (change(Conv2D, x=lambda g, dy: -g)(2, 3), (5, 5, 2), {"x"}),
    "mask dropped": (change(ReLU, x=lambda g, dy: dy)(), (4, 5), {"x"}),
    "always zero": (change(MaxPool2D, x=lambda g, dy: 0 * g)(2), (4, 4, 1), {"x"}),
    "scale forgotten": (change(Normalize, x=lambda g, dy: dy)(), (4, 3), {"x"}),
    "one entry": (change(Conv2D, weight=shift_last)(2, 3), (5, 5, 2), {"weight"}),
    "not a number": (change(Dense, x=lambda g, dy: np.nan * g, bias=lambda g, dy: g + 1)(3), (4,), {"x", "bias"}),
}


@pytest.mark.parametrize(("layer", "input_shape", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_layer_is_found(layer, input_shape, expected):
    entries = check_layer(layer, input_shape, entries=ALL)
    assert wrong(entries) == expected
    if layer is BROKEN["one entry"][0]:
        assert [entry.index for entry in entries if entry.relative_difference > TOLERANCE] == [(1, 2, 2, 1)]


def test_few_entries_meet_both_the_zeros_and_the_rest_of_a_sparse_gradient():
    entries = check_layer(MaxPool2D(4), (8, 8, 1), entries=4)
    assert [entry.backward == 0 for entry in entries].count(True) == 2


def test_a_broken_loss_is_found(monkeypatch):
    backward = SoftmaxCrossEntropy.backward
    monkeypatch.setattr(SoftmaxCrossEntropy, "backward", lambda self, cache: backward(self, cache) * 3)
    assert wrong(check_loss(SoftmaxCrossEntropy(), np.ones((3, 2)), np.array([0, 1, 0]))) == {"outputs"}


def test_a_broken_layer_is_found_in_a_network():
    broken = change(Conv2D, bias=lambda g, dy: 2 * g)(3, 3)
    network = Network(Sequential([broken, ReLU(), Flatten(), Dense(2)]), (4, 4, 1), dtype="float64")
    images = separated_values(np.random.default_rng(0), (2, 4, 4, 1))
    assert wrong(check_network(network, images, np.array([0, 1]))) == {"conv1.bias"}


@pytest.mark.parametrize("gradient", [None, np.zeros((4, 3))])
def test_a_gradient_of_another_shape_is_refused(gradient):
    layer = change(Dense, weight=lambda g, dy: gradient)(3)
    with pytest.raises(InputError, match=r"weight a gradient of shape \(3, 4\), got (none|shape \(4, 3\))\. Correct"):
        check_layer(layer, (4,))


# Kinks.


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_separated_values(count):
    shuffled = separated_values(np.random.default_rng(0), (count, 1)).ravel()
    values = np.sort(shuffled)
    assert count <= 2 or not np.array_equal(shuffled, values)
    assert np.diff(values) == pytest.approx(2 / count)
    assert np.abs(values).min() == pytest.approx(1 / count)
    assert np.abs(values).max() <= 1


def relu_network(pre_activation):
    """Two units, of which the first has this value before its ReLU and the second is far from its kink."""
    network = Network(Sequential([Dense(2), ReLU(), Dense(2)]), (1,), dtype="float64")
    network.set_tensors(
        {
            "dense1.weight": np.array([[1.0], [1.0]]),
            "dense1.bias": np.array([pre_activation - 1, 1.0]),
            "dense2.weight": np.array([[1.0, 0.5], [-1.0, 0.25]]),
            "dense2.bias": np.zeros(2),
        }
    )
    return network, np.ones((1, 1)), np.array([0])


@pytest.mark.parametrize("pre_activation", [5e-6, 1e-6, 0.0, -5e-6])
def test_entries_with_a_kink_within_the_step_are_passed_over(pre_activation):
    entries = check_network(*relu_network(pre_activation), entries=ALL)
    assert not wrong(entries)
    checked = {(entry.name, entry.index) for entry in entries}
    assert ("dense1.bias", (1,)) in checked
    assert ("dense1.bias", (0,)) not in checked
    assert ("dense1.weight", (0, 0)) not in checked


def test_entries_near_a_kink_are_checked_where_the_step_does_not_reach_it():
    entries = check_network(*relu_network(2e-5), entries=ALL)
    assert ("dense1.bias", (0,)) in {(entry.name, entry.index) for entry in entries}
    assert not wrong(entries)


def test_a_function_with_kinks_everywhere_is_refused():
    network, images, labels = relu_network(0.0)
    network.theta[3] = -1.0
    with pytest.raises(InputError, match=r"expected a derivative at one of 2 entries of dense1\.weight, got kinks at"):
        check_network(network, images, labels)


# Bad input.


def test_float32_is_refused():
    with pytest.raises(InputError, match=r"expected a network of float64, got float32\. Build it with dtype='float64'"):
        check_network(*small_network())


@pytest.mark.parametrize("setting", ["batch", "entries"])
def test_counts_below_one_are_refused(setting):
    with pytest.raises(InputError, match=f"expected {setting} to be an integer of at least 1, got 0"):
        check_layer(ReLU(), (3,), **{setting: 0})
