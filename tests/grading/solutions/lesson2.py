"""Solutions of lesson 2."""

import numpy as np


def sgd_step(theta, g, lr, decay):
    return theta - lr * (g + decay * theta)


def momentum_step(theta, v, g, lr, mu):
    v = mu * v + (1 - mu) * g
    theta = theta - lr * v
    return theta, v


def nesterov_step(theta, v, g, lr, mu):
    v = mu * v - lr * g
    theta = theta + mu * v - lr * g
    return theta, v


def take_batch(order, batch_size, step):
    batches = int(np.ceil(len(order) / batch_size))
    start = (step % batches) * batch_size
    return order[start : start + batch_size]
