"""Optimizers against torch.optim.SGD over ten steps, in float64."""

import numpy as np
import pytest

from xpnet.optimizers import GradientDescent, Momentum

torch = pytest.importorskip("torch")

ALPHA, MU, DECAY, STEPS = 0.1, 0.9, 0.01, 10
START = np.random.default_rng(0).normal(size=7)


def gradient(theta, step):
    """Of a function that is neither quadratic nor the same at every step."""
    return np.sin(3 * theta + step) + theta


def trajectory(optimizer):
    theta, state, points = START, optimizer.init(START), []
    for step in range(STEPS):
        theta, state = optimizer.update(theta, gradient(theta, step), state)
        points.append(theta)
    return points


def torch_trajectory(*, shrink=1.0, **settings):
    """SGD's points; before each step θ is multiplied by ``shrink``, which is weight decay outside the velocity."""
    theta = torch.tensor(START, requires_grad=True)
    optimizer, points = torch.optim.SGD([theta], **settings), []
    for step in range(STEPS):
        theta.grad = torch.tensor(gradient(theta.detach().numpy(), step))
        with torch.no_grad():
            theta *= shrink
        optimizer.step()
        points.append(theta.detach().numpy().copy())
    return points


def test_gradient_descent():
    expected = torch_trajectory(lr=ALPHA, weight_decay=DECAY)
    np.testing.assert_allclose(trajectory(GradientDescent(ALPHA, DECAY)), expected, rtol=1e-12)


def test_heavy_ball():
    """PyTorch's velocity is v' = μ·v' + g with θ -= α·v': ours is v = -α·v'."""
    expected = torch_trajectory(lr=ALPHA, momentum=MU, weight_decay=DECAY)
    np.testing.assert_allclose(trajectory(Momentum(ALPHA, MU, DECAY, "heavy-ball")), expected, rtol=1e-12)


def test_moving_average():
    """With v' as above m = (1 - μ)·v', so θ -= α·(m + λ·θ) is θ = (1 - αλ)·θ - α·(1 - μ)·v'."""
    expected = torch_trajectory(shrink=1 - ALPHA * DECAY, lr=ALPHA * (1 - MU), momentum=MU)
    np.testing.assert_allclose(trajectory(Momentum(ALPHA, MU, DECAY, "moving-average")), expected, rtol=1e-12)
