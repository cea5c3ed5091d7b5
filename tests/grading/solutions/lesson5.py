"""Solutions of lesson 5."""

import numpy as np


def adagrad_step(theta, s, g, lr, eps):
    s = s + g * g
    theta = theta - lr * g / (np.sqrt(s) + eps)
    return theta, s


def rmsprop_step(theta, s, g, lr, rho, eps):
    s = rho * s + (1 - rho) * g * g
    theta = theta - lr * g / (np.sqrt(s) + eps)
    return theta, s


def adam_step(theta, m, s, g, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    s_hat = s / (1 - beta2**t)
    theta = theta - lr * m_hat / (np.sqrt(s_hat) + eps)
    return theta, m, s


def he_weights(z):
    features = z.shape[1]
    return z * np.sqrt(2 / features)


def batch_norm_forward(x, gamma, beta):
    mean = x.mean(axis=0)
    var = x.var(axis=0)
    x_hat = (x - mean) / np.sqrt(var + 1e-5)
    return gamma * x_hat + beta


def batch_norm_backward(x, gamma, dy):
    std = np.sqrt(x.var(axis=0) + 1e-5)
    x_hat = (x - x.mean(axis=0)) / std
    dgamma = np.sum(dy * x_hat, axis=0)
    dbeta = np.sum(dy, axis=0)
    dx = gamma / std * (dy - dbeta / len(x) - x_hat * dgamma / len(x))
    return dx, dgamma, dbeta
