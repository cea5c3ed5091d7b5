"""Optimizers against torch.optim over ten steps, in float64, and clipping against PyTorch's."""

import numpy as np
import pytest

from xpnet.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, RMSProp, clip_by_global_norm

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


def torch_trajectory(kind="SGD", *, shrink=1.0, **settings):
    """PyTorch's points; before each step θ is multiplied by ``shrink``, which is weight decay outside the velocity."""
    theta = torch.tensor(START, requires_grad=True)
    optimizer, points = getattr(torch.optim, kind)([theta], **settings), []
    for step in range(STEPS):
        theta.grad = torch.tensor(gradient(theta.detach().numpy(), step))
        with torch.no_grad():
            theta *= shrink
        optimizer.step()
        points.append(theta.detach().numpy().copy())
    return points


def test_gradient_descent():
    expected = torch_trajectory(lr=ALPHA, weight_decay=DECAY)
    np.testing.assert_allclose(trajectory(SGD(ALPHA, DECAY)), expected, rtol=1e-12)


def test_heavy_ball():
    """PyTorch's velocity is v' = μ·v' + g with θ -= α·v': ours is v = -α·v'."""
    expected = torch_trajectory(lr=ALPHA, momentum=MU, weight_decay=DECAY)
    np.testing.assert_allclose(trajectory(Momentum(ALPHA, MU, DECAY, "heavy-ball")), expected, rtol=1e-12)


def test_moving_average():
    """With v' as above m = (1 - μ)·v', so θ -= α·(m + λ·θ) is θ = (1 - αλ)·θ - α·(1 - μ)·v'."""
    expected = torch_trajectory(shrink=1 - ALPHA * DECAY, lr=ALPHA * (1 - MU), momentum=MU)
    np.testing.assert_allclose(trajectory(Momentum(ALPHA, MU, DECAY, "moving-average")), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "kind", "settings"),
    [
        (Momentum(ALPHA, MU, DECAY, "nesterov"), "SGD", {"momentum": MU, "nesterov": True}),
        (AdaGrad(ALPHA, DECAY), "Adagrad", {}),
        (AdaGrad(ALPHA, DECAY, lr_decay=0.3), "Adagrad", {"lr_decay": 0.3}),
        (RMSProp(ALPHA, DECAY), "RMSprop", {}),
        (RMSProp(ALPHA, DECAY, rho=0.7, epsilon=1e-3), "RMSprop", {"alpha": 0.7, "eps": 1e-3}),
        (Adam(ALPHA, DECAY), "Adam", {}),
        (Adam(ALPHA, DECAY, 0.7, 0.8, 1e-3), "Adam", {"betas": (0.7, 0.8), "eps": 1e-3}),
        (Adam(ALPHA, DECAY, beta1=0.0, beta2=0.5, amsgrad=True), "Adam", {"betas": (0.0, 0.5), "amsgrad": True}),
        (AdamW(ALPHA, DECAY), "AdamW", {}),
        (
            AdamW(ALPHA, DECAY, 0.7, 0.5, 1e-3, amsgrad=True),
            "AdamW",
            {"betas": (0.7, 0.5), "eps": 1e-3, "amsgrad": True},
        ),
    ],
)
def test_the_others(optimizer, kind, settings):
    expected = torch_trajectory(kind, lr=ALPHA, weight_decay=DECAY, **settings)
    np.testing.assert_allclose(trajectory(optimizer), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("ours", "kind"), [(AdaGrad, "Adagrad"), (RMSProp, "RMSprop"), (Adam, "Adam"), (AdamW, "AdamW")]
)
def test_defaults(ours, kind):
    np.testing.assert_allclose(trajectory(ours()), torch_trajectory(kind), rtol=1e-11)


@pytest.mark.parametrize("limit", [0.1, 1.0, 2.0, 100.0])
def test_clipping_over_several_tensors(limit):
    """PyTorch clips a list of tensors by the norm of all together: ours is that of the flat vector."""
    gradient = np.random.default_rng(1).normal(size=9)
    tensors = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (2, 3, 4)]
    for tensor, part in zip(tensors, np.split(gradient, [2, 5]), strict=True):
        tensor.grad = torch.tensor(part)
    norm = torch.nn.utils.clip_grad_norm_(tensors, limit)
    assert 2.0 < norm < 100
    expected = np.concatenate([tensor.grad for tensor in tensors])
    np.testing.assert_allclose(clip_by_global_norm(gradient, limit), expected, rtol=1e-14)
