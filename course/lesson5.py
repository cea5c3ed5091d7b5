"""Exercises of lesson 5: optimizers, initial weights and batch normalisation.

Replace each ``raise NotImplementedError``; the derivations are in lesson5.md. ``xpnet grade lesson5.py`` tells you what
is wrong. theta, g, s and m are vectors of the same length.
"""

import numpy as np


def adagrad_step(theta, s, g, lr, eps):
    """The theta and s after a step of AdaGrad, s being the sum of all squared gradients."""
    raise NotImplementedError


def rmsprop_step(theta, s, g, lr, rho, eps):
    """The theta and s after a step of RMSProp, s being the moving average of squares, with weight rho of the past."""
    raise NotImplementedError


def adam_step(theta, m, s, g, t, lr, beta1, beta2, eps):
    """The theta, m and s after step t of Adam, the first step being t = 1. m and s are returned without corrections."""
    raise NotImplementedError


def he_weights(z):
    """Initial weights (units, features) for a layer before a ReLU, made of standard normal numbers z of that shape."""
    raise NotImplementedError


def batch_norm_forward(x, gamma, beta):
    """Compute y = gamma * (x - mean) / sqrt(var + 1e-5) + beta, with mean and variance of each feature over the batch.

    Shapes: x (N, features), gamma and beta (features,) -> y like x.
    """
    raise NotImplementedError


def batch_norm_backward(x, gamma, dy):
    """dx, dgamma, dbeta, given dy (N, features)."""
    raise NotImplementedError
