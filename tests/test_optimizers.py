import dataclasses
import math

import numpy as np
import pytest

from tests.helpers import assert_close, assert_lives_on, host_copies, leaves, refused
from xpnet.backend import to_numpy
from xpnet.optimizers import (
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    RMSProp,
    clip_by_global_norm,
)

ALPHA, MU, DECAY = 0.1, 0.9, 0.005
THETA = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.array(
    [
        [0.3, -1.0, 2.0],
        [0.1, 0.4, -0.7],
        [0.0, 0.0, 0.0],
        [-5.0, 1.0, 1.0],
        [0.2, -0.1, 0.0],
        [1.0, 3.0, -2.0],
        [0.01, -0.02, 0.0],
        [0.5, 0.5, 0.5],
        [-0.3, 2.0, 1e-4],
        [1.5, -1.5, 0.7],
    ]
)
SCHEDULE = (0.25, 0.5, 1.0, 1.0, 1.0, 0.5, 0.5, 0.1, 0.1, 0.0)
DECAYS = np.array([1.0, 0.0, 1.0])
ALL = [
    SGD(ALPHA, DECAY),
    Momentum(ALPHA, MU, DECAY),
    Momentum(ALPHA, MU, DECAY, "heavy-ball"),
    Momentum(ALPHA, MU, DECAY, "nesterov"),
    AdaGrad(ALPHA, DECAY, lr_decay=0.2),
    RMSProp(ALPHA, DECAY, rho=0.8),
    Adam(ALPHA, DECAY),
    Adam(ALPHA, DECAY, amsgrad=True),
    AdamW(ALPHA, DECAY),
    AdamW(ALPHA, DECAY, amsgrad=True),
]


def run(optimizer, backend, dtype="float64"):
    """θ and the velocity after each gradient in turn."""
    theta = backend.asarray(THETA, dtype)
    state, history = optimizer.init(theta), []
    for gradient in GRADIENTS:
        theta, state = optimizer.update(theta, backend.asarray(gradient, dtype), state)
        history.append((theta, state))
    return history


def test_gradient_descent(backend):
    theta = THETA
    for (actual, state), g in zip(run(SGD(ALPHA, DECAY), backend), GRADIENTS, strict=True):
        theta = theta - ALPHA * (g + DECAY * theta)
        assert_close(actual, backend.asarray(theta), rtol=1e-14)
        assert state == {}


def test_moving_average_by_its_formula(backend):
    theta, m = THETA, np.zeros(3)
    for (actual, state), g in zip(run(Momentum(ALPHA, MU, DECAY), backend), GRADIENTS, strict=True):
        m = MU * m + (1 - MU) * g
        theta = theta - ALPHA * (m + DECAY * theta)
        assert_close(actual, backend.asarray(theta), rtol=1e-14)
        assert_close(state["velocity"], backend.asarray(m), rtol=1e-14)


def test_moving_average_is_a_weighted_sum_of_past_gradients(backend):
    _, state = run(Momentum(ALPHA, MU, DECAY), backend)[-1]
    weights = (1 - MU) * MU ** np.arange(len(GRADIENTS))[::-1]
    assert_close(state["velocity"], backend.asarray(weights @ GRADIENTS), rtol=1e-13)


def test_heavy_ball_by_its_formula(backend):
    theta, v = THETA, np.zeros(3)
    optimizer = Momentum(ALPHA, MU, DECAY, form="heavy-ball")
    for (actual, state), g in zip(run(optimizer, backend), GRADIENTS, strict=True):
        v = MU * v - ALPHA * (g + DECAY * theta)
        theta = theta + v
        assert_close(actual, backend.asarray(theta), rtol=1e-14)
        assert_close(state["velocity"], backend.asarray(v), rtol=1e-14)


def test_the_forms_agree_at_equal_pace_without_weight_decay(backend):
    averaged = run(Momentum(ALPHA, MU), backend)
    ball = run(Momentum(ALPHA * (1 - MU), MU, form="heavy-ball"), backend)
    assert_close(averaged[-1][0], ball[-1][0], rtol=1e-13)


@pytest.mark.parametrize("form", ["moving-average", "heavy-ball", "nesterov"])
def test_without_momentum_all_forms_are_gradient_descent(backend, form):
    expected = run(SGD(ALPHA, DECAY), backend)[-1][0]
    assert_close(run(Momentum(ALPHA, 0.0, DECAY, form), backend)[-1][0], expected, rtol=1e-14)


# Every optimizer by its formula, with a learning rate that changes and a parameter that does not decay


def by_formula(optimizer):
    """θ after each step, in float64 scalars: one parameter after the other, written out from the papers."""
    return np.stack([list(FORMULAS[type(optimizer)](optimizer, index)) for index in range(3)], axis=1)


def each_step(index):
    for t, (factor, gradients) in enumerate(zip(SCHEDULE, GRADIENTS, strict=True), 1):
        yield t, ALPHA * factor, gradients[index]


def gradient_descent(optimizer, index):
    theta, decay = THETA[index], DECAY * DECAYS[index]
    for _, alpha, g in each_step(index):
        theta -= alpha * g + alpha * decay * theta
        yield theta


def momentum(optimizer, index):
    theta, decay, velocity = THETA[index], DECAY * DECAYS[index], 0.0
    for _, alpha, g in each_step(index):
        if optimizer.form == "moving-average":
            velocity = MU * velocity + (1 - MU) * g
            theta -= alpha * velocity + alpha * decay * theta
        else:
            g += decay * theta
            velocity = MU * velocity - alpha * g
            theta += velocity if optimizer.form == "heavy-ball" else MU * velocity - alpha * g
        yield theta


def adagrad(optimizer, index):
    theta, decay, total = THETA[index], DECAY * DECAYS[index], 0.0
    for t, alpha, g in each_step(index):
        g += decay * theta
        total += g**2
        theta -= alpha / (1 + (t - 1) * 0.2) * g / (math.sqrt(total) + 1e-10)
        yield theta


def rmsprop(optimizer, index):
    theta, decay, average = THETA[index], DECAY * DECAYS[index], 0.0
    for _, alpha, g in each_step(index):
        g += decay * theta
        average = 0.8 * average + 0.2 * g**2
        theta -= alpha * g / (math.sqrt(average) + 1e-8)
        yield theta


def adam(optimizer, index):
    theta, decay, m, s, largest = THETA[index], DECAY * DECAYS[index], 0.0, 0.0, 0.0
    for t, alpha, g in each_step(index):
        if isinstance(optimizer, AdamW):
            theta -= alpha * decay * theta
        else:
            g += decay * theta
        m = 0.9 * m + 0.1 * g
        s = 0.999 * s + 0.001 * g**2
        largest = max(largest, s) if optimizer.amsgrad else s
        theta -= alpha * m / (1 - 0.9**t) / (math.sqrt(largest / (1 - 0.999**t)) + 1e-8)
        yield theta


FORMULAS = {
    SGD: gradient_descent,
    Momentum: momentum,
    AdaGrad: adagrad,
    RMSProp: rmsprop,
    Adam: adam,
    AdamW: adam,
}


@pytest.mark.parametrize("optimizer", ALL, ids=str)
@pytest.mark.parametrize("as_array", [False, True])
def test_ten_steps_by_the_formula(backend, optimizer, as_array):
    theta, decay_mask = backend.asarray(THETA), backend.asarray(DECAYS)
    state = optimizer.init(theta)
    for factor, g, expected in zip(SCHEDULE, GRADIENTS, by_formula(optimizer), strict=True):
        lr_scale = backend.asarray(np.array(factor)) if as_array else factor
        theta, state = optimizer.update(theta, backend.asarray(g), state, lr_scale=lr_scale, decay_mask=decay_mask)
        assert_close(theta, backend.asarray(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_states_hold_arrays_like_theta_and_nothing_handed_in_is_changed(backend, optimizer):
    theta, gradient = backend.asarray(THETA, "float32"), backend.asarray(GRADIENTS[0], "float32")
    state, lr_scale = optimizer.init(theta), backend.asarray(np.array(0.5), "float32")
    for array in leaves(state):
        assert not np.any(to_numpy(array))
    given = (theta, gradient, state, lr_scale)
    before = host_copies(given)
    new_theta, new_state = optimizer.update(theta, gradient, state, lr_scale=lr_scale)
    for array, copy in zip(host_copies(given), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert new_state.keys() == state.keys()
    for name, array in new_state.items():
        assert_lives_on(array, backend, "float32")
        assert tuple(array.shape) == tuple(state[name].shape) == ((1,) if name == "steps" else (3,))
    assert_close(new_theta, new_theta + 0 * theta)


@pytest.mark.parametrize("optimizer", ALL, ids=str)
@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_a_compiled_step_serves_every_step(backend, optimizer):
    import jax

    update = jax.jit(lambda *arrays, lr_scale: optimizer.update(*arrays, lr_scale=lr_scale))
    theta = expected = backend.asarray(THETA)
    state = expected_state = optimizer.init(theta)
    for factor, g in zip(SCHEDULE, map(backend.asarray, GRADIENTS), strict=True):
        theta, state = update(theta, g, state, lr_scale=factor)
        expected, expected_state = optimizer.update(expected, g, expected_state, lr_scale=factor)
        assert_close(theta, expected, rtol=1e-12)
    assert update._cache_size() == 1


@pytest.mark.parametrize("optimizer", [Adam(ALPHA), AdamW(ALPHA, 0.0), Adam(ALPHA, beta1=0.0, beta2=0.0)], ids=str)
def test_adams_first_step_is_the_learning_rate_in_float32_too(backend, optimizer):
    """1 - 0.999 in float32 is wrong by 1e-5, which would show here."""
    theta = backend.asarray(np.zeros(2), "float32")
    theta, _ = optimizer.update(theta, backend.asarray(np.array([3.0, -200.0]), "float32"), optimizer.init(theta))
    assert_close(theta, backend.asarray(np.array([-ALPHA, ALPHA]), "float32"), rtol=5e-7)


def test_amsgrad_remembers_the_largest_gradient():
    gradients = np.array([[10.0], [0.1], [0.1], [0.1]])

    def last_step(optimizer):
        theta, state = np.zeros(1), optimizer.init(np.zeros(1))
        for g in gradients:
            before, (theta, state) = theta, optimizer.update(theta, g, state)
        return abs(theta - before)

    assert last_step(Adam(ALPHA, beta1=0.0, beta2=0.5, amsgrad=True)) < last_step(Adam(ALPHA, beta1=0.0, beta2=0.5)) / 2


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_a_gradient_of_zero_moves_nothing_but_by_weight_decay(optimizer):
    still = dataclasses.replace(optimizer, weight_decay=0.0)
    theta, _ = still.update(THETA, np.zeros(3), still.init(THETA))
    np.testing.assert_array_equal(theta, THETA)
    theta, _ = optimizer.update(THETA, np.zeros(3), optimizer.init(THETA), decay_mask=DECAYS)
    assert abs(theta[0]) < abs(THETA[0])
    assert theta[1] == THETA[1]


# Clipping


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_gradient_keeps_its_direction_and_gets_the_length(backend, dtype):
    gradient = backend.asarray(np.array([3.0, 0.0, -4.0]), dtype)
    assert_close(clip_by_global_norm(gradient, 1.0), gradient / (5 + 1e-6), rtol=2e-7)
    assert_close(clip_by_global_norm(gradient, 0.02), gradient * 0.02 / (5 + 1e-6), rtol=2e-7)


def test_a_short_gradient_stays_as_it_is(backend):
    gradient = backend.asarray(np.array([3.0, 0.0, -4.0]), "float32")
    assert_close(clip_by_global_norm(gradient, 5.1), gradient)
    assert_close(clip_by_global_norm(0 * gradient, 1.0), 0 * gradient)


def test_a_gradient_whose_squares_overflow_keeps_its_direction(backend):
    gradient = backend.asarray(np.array([3e19, 0.0, -4e19]), "float32")
    assert_close(clip_by_global_norm(gradient, 1.0), backend.asarray(np.array([0.6, 0.0, -0.8]), "float32"), rtol=1e-6)


def test_clipping_hides_no_gradient_that_is_not_finite():
    assert np.isnan(clip_by_global_norm(np.array([1.0, math.nan]), 1.0)).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(clip_by_global_norm(np.array([1.0, math.inf]), 1.0)).any()


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_clipping_to_no_length(limit):
    with refused("Clipping", "a finite norm above 0", f"got {limit}"):
        clip_by_global_norm(THETA, limit)


# Settings


def test_moving_average_is_the_default_form():
    assert Momentum(ALPHA).form == "moving-average"


@pytest.mark.parametrize(
    ("momentum", "reason"),
    [
        (1.0, "from 1 on the velocity never fades and grows without bound"),
        (1.5, "from 1 on the velocity never fades and grows without bound"),
        (-0.1, "below 0 it brakes where it should push"),
    ],
)
def test_momentum_out_of_range_is_refused_with_the_reason(momentum, reason):
    with refused("Momentum", "a momentum in [0, 1)", f"got {momentum}: {reason}"):
        Momentum(ALPHA, momentum)


def test_momentum_that_is_no_number():
    with refused("Momentum: expected a momentum in [0, 1), got nan"):
        Momentum(ALPHA, math.nan)


def test_unknown_form():
    with refused("Momentum, form", "one of moving-average, heavy-ball, nesterov", "got 'nestrov'", "'nesterov'?"):
        Momentum(ALPHA, form="nestrov")


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("setting", ["learning_rate", "weight_decay"])
def test_rates_out_of_range(optimizer, setting, value):
    with refused(f"{optimizer.__name__}", f"a finite {setting} of at least 0", f"got {value}"):
        optimizer(**{"learning_rate": ALPHA, setting: value})


@pytest.mark.parametrize(
    ("optimizer", "setting", "example"),
    [
        (RMSProp, "rho", 0.99),
        (Adam, "beta1", 0.9),
        (Adam, "beta2", 0.999),
        (AdamW, "beta1", 0.9),
        (AdamW, "beta2", 0.999),
    ],
)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.0, "at 1 or above new gradients would have no effect"),
        (math.nan, "it is not a number"),
        (-0.1, "below 0 it would count past gradients with the wrong sign"),
    ],
)
def test_averages_out_of_range_are_refused_with_the_reason(optimizer, setting, example, value, reason):
    with refused(f"{optimizer.__name__}", f"a {setting} in [0, 1)", f"got {value}: {reason}"):
        optimizer(**{setting: value})


@pytest.mark.parametrize("optimizer", [AdaGrad, RMSProp, Adam, AdamW])
@pytest.mark.parametrize("value", [0.0, -1e-8, math.nan, math.inf])
def test_epsilon_out_of_range(optimizer, value):
    with refused(f"{optimizer.__name__}", "a finite epsilon above 0", f"got {value}", "0/0. Try 1e-8."):
        optimizer(epsilon=value)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_decay_of_adagrads_learning_rate_out_of_range(value):
    with refused("AdaGrad", "a finite lr_decay of at least 0", f"got {value}"):
        AdaGrad(lr_decay=value)


def test_defaults_are_pytorchs():
    assert AdaGrad() == AdaGrad(0.01, 0.0, 0.0, 1e-10)
    assert RMSProp() == RMSProp(0.01, 0.0, 0.99, 1e-8)
    assert Adam() == Adam(0.001, 0.0, 0.9, 0.999, 1e-8, amsgrad=False)
    assert AdamW() == AdamW(0.001, 0.01, 0.9, 0.999, 1e-8, amsgrad=False)
