"""Forward and backward passes in float16, on every library that trains."""

import numpy as np
import pytest

from tests.helpers import assert_same_bits, refused
from tests.training.runs import StopAfter, make_trainer
from xpnet.backend import to_numpy
from xpnet.compile import compiled, graphed
from xpnet.errors import TrainingDivergedError
from xpnet.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    Normalize,
    ReLU,
    Sequential,
)
from xpnet.layers.base import Backward, Forward
from xpnet.network import Network
from xpnet.optimizers import SGD, Adam, Momentum
from xpnet.random import make_key
from xpnet.runtime import Runtime
from xpnet.training import mixed_precision
from xpnet.training.mixed_precision import GOOD_STEPS, SCALE, MixedPrecision
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step

BACKENDS = ["numpy", "torch", "jax"]
SMALL = {"model": "mlp", "model_options": {"hidden": (16,), "dropout": 0.2, "batch_norm": True}}


@pytest.fixture(params=BACKENDS)
def library(request):
    if request.param != "numpy":
        pytest.importorskip(request.param, exc_type=ImportError)
    return request.param


def make_network(library="numpy", loss=None):
    layers = [Normalize(), Conv2D(4, 3), BatchNorm(), ReLU(), Flatten(), Dense(5)]
    return Network(Sequential(layers), (6, 6, 1), backend=library, loss=loss)


def batch(network, count=8):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, *network.input_shape)), rng.integers(0, 5, count)
    return network.backend.asarray(images.astype(np.float32)), network.backend.asarray(labels.astype(np.int32))


def first_values(network, optimizer, scale=None):
    scaling = dict(MixedPrecision(network).init(network.theta))
    if scale is not None:
        scaling[SCALE] = scaling[SCALE] * 0 + scale
    return TrainState(network.theta, network.state, {**optimizer.init(network.theta), **scaling})


def scale_and_count(values):
    return float(to_numpy(values.optimizer[SCALE])[0]), int(to_numpy(values.optimizer[GOOD_STEPS])[0])


def test_it_learns_what_float32_learns(library, digits):
    """Random numbers too are the same, so that only rounding differs."""

    def history(precision):
        settings = {**SMALL, "backend": library, "precision": precision, "batch_size": 32, "learning_rate": 0.1}
        return make_trainer(digits, **settings, iterations=20).run()

    half, full = history("float16"), history("float32")
    assert [record.loss for record in half] != [record.loss for record in full]
    assert half[-1].loss < 0.9 * half[0].loss
    for ours, theirs in zip(half, full, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.01)
        assert ours.validation_score == pytest.approx(theirs.validation_score, abs=0.07)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_the_mnist_starter_trains(digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)
    settings = {"backend": backend, "batch_size": 16, "iterations": 4 if backend == "numpy" else 40}

    def last(precision):
        return make_trainer(digits, **settings, precision=precision).run()[-1]

    assert last("float16").loss == pytest.approx(last("float32").loss, rel=0.01)


def test_the_gradient_is_float32_and_near_that_of_float32(library):
    network = make_network(library)
    x, labels = batch(network)
    mixed, theta, state = MixedPrecision(network), network.theta, network.state
    half = compiled(mixed.loss_and_gradient, network.backend)(
        theta, state, mixed.init(theta)[SCALE], x, labels, None, None
    )
    full = compiled(network.loss_and_gradient, network.backend)(theta, state, x, labels)
    assert half.gradient.dtype == half.loss.dtype == theta.dtype
    assert "float16" in str(half.outputs.dtype)
    ours, theirs = to_numpy(half.gradient), to_numpy(full.gradient)
    assert 0 < np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(theirs)
    for name, tensor in half.state["bn1"].items():
        assert tensor.dtype == theta.dtype
        np.testing.assert_allclose(to_numpy(tensor), to_numpy(full.state["bn1"][name]), rtol=5e-3, atol=1e-3)


def test_normalisation_of_examples_is_in_float32_too(library):
    """Of values up to 500 from their mean: their squares are beyond what float16 can hold."""
    network = Network([Flatten(), LayerNorm(), Dense(5)], (6, 6, 1), backend=library)
    x, labels = batch(network)
    x, mixed = 4 * x, MixedPrecision(network)
    half = mixed.loss_and_gradient(network.theta, network.state, 1.0, x, labels, None, None)
    full = network.loss_and_gradient(network.theta, network.state, x, labels)
    error = np.linalg.norm(to_numpy(half.gradient) - to_numpy(full.gradient))
    assert error < 0.05 * np.linalg.norm(to_numpy(full.gradient))


def test_statistics_are_sums_in_float32():
    """Of 4 * 36 values near 1000: beyond what float16 can hold."""
    network = Network(Sequential([BatchNorm(), Flatten(), Dense(5)]), (6, 6, 1))
    x, labels = batch(network, 4)
    mixed = MixedPrecision(network)
    result = mixed.loss_and_gradient(
        network.theta, network.state, mixed.init(network.theta)[SCALE], x + 1000, labels, None, None
    )
    np.testing.assert_allclose(result.state["bn1"]["running_mean"], 0.1 * np.mean(x + 1000), rtol=1e-3)
    assert np.all(np.isfinite(result.gradient))


class Faint:
    """A loss whose gradient is below what float16 can hold."""

    target = "classes"

    def check(self, logits, labels): ...

    def predictions(self, logits): ...

    def probabilities(self, logits): ...

    def forward(self, logits, labels, weights=None):
        return mixed_precision.LossForward(1e-9 * np.sum(logits), {"logits": logits})

    def backward(self, cache):
        return np.full_like(cache["logits"], 1e-9)


def test_faint_gradients_are_saved_by_the_scale():
    network = make_network(loss=Faint())
    x, labels = batch(network)

    def gradient(scale):
        values = first_values(network, SGD(0.1), scale)
        mixed = MixedPrecision(network)
        result = mixed.loss_and_gradient(values.theta, values.state, values.optimizer[SCALE], x, labels, None, None)
        return network.layout.unflatten(result.gradient)["dense1"]["bias"]

    assert not np.any(gradient(1.0))
    np.testing.assert_allclose(gradient(65536.0), 8e-9, rtol=0.01)


def test_weights_reach_the_loss():
    network = make_network()
    logits, labels, weights = np.ones((2, 5), np.float16), np.array([0, 1]), np.array([3.0, 0.0], np.float32)
    scaled = MixedPrecision(network).narrowed(2.0).loss
    gradient = scaled.backward(scaled.forward(logits, labels, weights).cache)
    expected = network.loss.backward(network.loss.forward(logits.astype(np.float32), labels, weights).cache)
    assert not np.any(gradient[1])
    np.testing.assert_allclose(gradient, 2 * expected, rtol=1e-3)


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.1), Momentum(0.1), Adam(0.1)])
def test_a_step_that_overflows_is_left_out(library, optimizer):
    network = make_network(library)
    step = make_step(network, optimizer, accuracy, clip_norm=1.0, mixed=MixedPrecision(network))
    before = first_values(network, optimizer, 2.0**40)
    with np.errstate(over="ignore", invalid="ignore"):
        after, figures = step(before, *batch(network))
    assert np.isfinite(to_numpy(figures.loss))
    assert scale_and_count(after) == (2.0**39, 0)
    unscaled = {name: value for name, value in after.optimizer.items() if name not in (SCALE, GOOD_STEPS)}
    assert_same_bits(
        (after.theta, after.state, unscaled),
        (before.theta, before.state, {name: before.optimizer[name] for name in unscaled}),
    )


def test_the_scale_grows_after_enough_good_steps_in_a_row(monkeypatch, library):
    monkeypatch.setattr(mixed_precision, "INTERVAL", 3)
    network = make_network(library)
    step = make_step(network, SGD(0.0), accuracy, mixed=MixedPrecision(network))
    values, seen = first_values(network, SGD(0.0), 2.0**18), []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(8):
            values, _ = step(values, *batch(network))
            seen.append(scale_and_count(values))
    assert (2.0**17, 0) in seen  # 2^18 was too much; where it begins again, three good steps later
    start = next(place for place, (scale, count) in enumerate(seen) if count == 1)
    scale = seen[start][0]
    assert [(scale, 1), (scale, 2), (2 * scale, 0)] == seen[start : start + 3]


def test_a_run_that_was_stopped_is_the_same_bit_for_bit(digits, monkeypatch):
    monkeypatch.setattr(mixed_precision, "INTERVAL", 5)
    settings = {**SMALL, "precision": "float16", "batch_size": 16, "optimizer": "adam"}
    whole, begun, resumed = (make_trainer(digits, **settings) for _ in range(3))
    whole.run()
    begun.run([StopAfter(7)])
    resumed.restore(begun.snapshot())
    resumed.run()
    expected = whole.snapshot().tensors
    assert expected[f"optimizer/{SCALE}"] > mixed_precision.FIRST_SCALE
    assert_same_bits(resumed.snapshot().tensors, expected)


def set_state(trainer, **changes):
    trainer._position = trainer._position._replace(state=trainer._position.state._replace(**changes))


def trainer_with_scale(digits, scale, **settings):
    trainer = make_trainer(digits, **SMALL, precision="float16", batch_size=16, **settings)
    set_state(trainer, optimizer={**trainer._position.state.optimizer, SCALE: np.full(1, scale, np.float32)})
    return trainer


def test_looking_for_what_is_not_finite_passes_over_a_step_that_was_left_out(digits):
    trainer = trainer_with_scale(digits, 2.0**40)
    theta = trainer.network.theta.copy()
    trainer.run(detect_nonfinite=True)
    assert scale_and_count(trainer._position.state)[0] < 2.0**40
    assert trainer.iteration == 12
    trainer = trainer_with_scale(digits, 2.0**40, iterations=1)
    trainer.run(detect_nonfinite=True)
    np.testing.assert_array_equal(trainer.network.theta, theta)


def test_a_layer_that_overflows_in_float16_is_named(digits):
    trainer = trainer_with_scale(digits, 1.0)
    set_state(trainer, theta=trainer.network.theta * 1e5)
    with pytest.raises(TrainingDivergedError, match=r"'dense1': its output is the first that is not finite"):
        trainer.run(detect_nonfinite=True)


def test_a_loss_that_is_not_finite_ends_the_run_as_ever(digits):
    trainer = trainer_with_scale(digits, 1.0)
    set_state(trainer, theta=trainer.network.theta * 1e5)
    with pytest.raises(TrainingDivergedError, match="the loss became nan in iteration 1"):
        trainer.run()


def test_a_run_in_which_no_scale_helps_ends(digits):
    trainer = trainer_with_scale(digits, 2.0**-14)
    step = trainer._step

    def overflowing(values, *arguments):
        after, figures = step(values, *arguments)
        return mixed_precision.MixedPrecision.skip_on_overflow(values, after, values.theta * np.inf), figures

    trainer._step = overflowing
    with pytest.raises(TrainingDivergedError, match=r"by iteration 5 the loss scale fell to .*precision=float32"):
        trainer.run()


def test_nothing_is_compiled_again(digits):
    pytest.importorskip("jax", exc_type=ImportError)
    trainer = make_trainer(digits, **SMALL, backend="jax", precision="float16", batch_size=16)
    trainer.run()
    assert trainer._step._cache_size() == 1


def test_a_recorded_step_is_the_same(graphs):
    layers = Sequential([Normalize(), Flatten(), Dense(6), BatchNorm(), Dropout(0.3), Dense(5)])
    network = Network(layers, (4, 4, 1), device="cuda")
    optimizer = Adam(0.01)
    step = make_step(network, optimizer, accuracy, mixed=MixedPrecision(network))
    recorded = graphed(step, network.backend)
    ours = theirs = first_values(network, optimizer, 2.0**40)
    with np.errstate(over="ignore", invalid="ignore"):
        for iteration in range(60):
            arguments = (*batch(network), None, network.backend.asarray(make_key(0)), iteration)
            (ours, figures), (theirs, expected) = recorded(ours, *arguments), step(theirs, *arguments)
            assert_same_bits((ours, figures), (theirs, expected))
    assert graphs["replays"] == 59
    assert scale_and_count(ours)[1] > 0


# bfloat16


@pytest.fixture(params=BACKENDS[1:])
def brain_library(request):
    pytest.importorskip(request.param, exc_type=ImportError)
    return request.param


def test_bfloat16_learns_what_float32_learns(brain_library, digits):
    def history(precision):
        settings = {**SMALL, "backend": brain_library, "precision": precision, "batch_size": 32, "learning_rate": 0.1}
        trainer = make_trainer(digits, **settings, iterations=20)
        return trainer.run(), trainer

    (half, trainer), (full, _) = history("bfloat16"), history("float32")
    assert [record.loss for record in half] != [record.loss for record in full]
    assert half[-1].loss < 0.9 * half[0].loss
    for ours, theirs in zip(half, full, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.03)
        assert ours.validation_score == pytest.approx(theirs.validation_score, abs=0.1)
    assert not {f"optimizer/{SCALE}", f"optimizer/{GOOD_STEPS}"} & trainer.snapshot().tensors.keys()


@pytest.mark.parametrize("model", ["mnist_starter", "vit_digits"])
def test_networks_train_in_bfloat16(brain_library, digits, model):
    settings = {"backend": brain_library, "batch_size": 16, "iterations": 5}
    half, full = (make_trainer(digits, model, **settings, precision=p).run()[-1] for p in ("bfloat16", "float32"))
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.03)


def test_the_gradient_of_bfloat16_is_float32_and_has_the_range_of_it(brain_library):
    network = make_network(brain_library)
    x, labels = batch(network)
    mixed = MixedPrecision(network, "bfloat16")
    half = mixed.loss_and_gradient(network.theta, network.state, 1.0, x, labels, None, None)
    full = network.loss_and_gradient(network.theta, network.state, x, labels)
    assert half.gradient.dtype == half.loss.dtype == network.theta.dtype
    assert "bfloat16" in str(half.outputs.dtype)
    ours, theirs = to_numpy(half.gradient), to_numpy(full.gradient)
    assert 0 < np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)
    assert np.all(np.isfinite(to_numpy(mixed.cast(x * 1e30))))


def test_a_step_in_bfloat16_is_looked_into(brain_library, digits):
    settings = {**SMALL, "backend": brain_library, "precision": "bfloat16", "batch_size": 16}
    trainer = make_trainer(digits, **settings)
    trainer.run(detect_nonfinite=True)
    assert trainer.iteration == 12
    with pytest.raises(TrainingDivergedError, match=r"in iteration \d, '?\w+"):
        make_trainer(digits, **settings, learning_rate=1e38).run(detect_nonfinite=True)


def test_bfloat16_is_not_for_libraries_without_it(digits):
    with refused("arrays of PyTorch or JAX for precision='bfloat16'", "numpy"):
        make_trainer(digits, **SMALL, precision="bfloat16")


def test_settings_that_do_not_fit_are_refused():
    for precision in ("float16", "bfloat16"):
        with refused(f"dtype='float32' with precision='{precision}'", "float64"):
            Runtime(precision=precision, dtype="float64")
    with refused("precision", "float16", "float61"):
        Runtime(precision="float61")


class OwnNorm(Layer):
    """A normalisation of somebody's own, which says that it stays in float32."""

    in_float32 = True

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, state, x, *, train=False, key=None):
        assert "float32" in str(x.dtype)
        return Forward(x * 1e-5 * 1e5, {"x": x} if train else None, state)

    def backward(self, params, cache, dy, *, need_dx=True):
        assert "float32" in str(dy.dtype)
        return Backward(dy, {})


@pytest.mark.parametrize("norm", [OwnNorm(), LocalResponseNorm()])
def test_a_layer_that_stays_in_float32_does(norm, library):
    """Squares of 300 are infinite in float16."""
    network = Network([Dense(4), norm, Dense(5)], (3,), backend=library)
    mixed = MixedPrecision(network)
    x = network.backend.asarray(np.full((2, 3), 300, np.float32))
    labels = network.backend.asarray(np.zeros(2, np.int32))
    result = mixed.loss_and_gradient(network.theta, network.state, 1.0, x, labels, None, None)
    assert np.isfinite(to_numpy(result.gradient)).all()
