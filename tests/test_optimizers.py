import math

import numpy as np
import pytest

from tests.helpers import assert_close, refused
from xpnet.backend import to_numpy
from xpnet.optimizers import GradientDescent, Momentum

ALPHA, MU, DECAY = 0.1, 0.9, 0.005
THETA = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.array([[0.3, -1.0, 2.0], [0.1, 0.4, -0.7], [0.0, 0.0, 0.0], [-5.0, 1.0, 1.0]])


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
    for (actual, state), g in zip(run(GradientDescent(ALPHA, DECAY), backend), GRADIENTS, strict=True):
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


@pytest.mark.parametrize("form", ["moving-average", "heavy-ball"])
def test_without_momentum_both_forms_are_gradient_descent(backend, form):
    expected = run(GradientDescent(ALPHA, DECAY), backend)[-1][0]
    assert_close(run(Momentum(ALPHA, 0.0, DECAY, form), backend)[-1][0], expected, rtol=1e-14)


@pytest.mark.parametrize(
    "optimizer", [GradientDescent(ALPHA, DECAY), Momentum(ALPHA), Momentum(ALPHA, form="heavy-ball")]
)
def test_float32_stays_float32_and_nothing_handed_in_is_changed(backend, optimizer):
    theta, gradient = backend.asarray(THETA, "float32"), backend.asarray(GRADIENTS[0], "float32")
    state = optimizer.init(theta)
    new_theta, new_state = optimizer.update(theta, gradient, state)
    assert_close(theta, backend.asarray(THETA, "float32"))
    assert_close(gradient, backend.asarray(GRADIENTS[0], "float32"))
    for array in state.values():
        assert not np.any(to_numpy(array))
    for array in (new_theta, *new_state.values()):
        assert_close(array, array + 0 * theta)


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
    with refused(f"Momentum: expected a momentum in [0, 1), got {momentum}: {reason}. Try 0.9."):
        Momentum(ALPHA, momentum)


def test_momentum_that_is_no_number():
    with refused("Momentum: expected a momentum in [0, 1), got nan"):
        Momentum(ALPHA, math.nan)


def test_unknown_form():
    with refused("Momentum: expected a form of moving-average or heavy-ball, got 'nesterov'. Choose one."):
        Momentum(ALPHA, form="nesterov")


@pytest.mark.parametrize("optimizer", [GradientDescent, Momentum])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("setting", ["learning_rate", "weight_decay"])
def test_rates_out_of_range(optimizer, setting, value):
    with refused(f"{optimizer.__name__}: expected a finite {setting} of at least 0, got {value}. Change {setting}."):
        optimizer(**{"learning_rate": ALPHA, setting: value})
