"""Exercises of lesson 2: training and momentum.

Replace each ``raise NotImplementedError``; the derivations are in lesson2.md. ``xpnet grade lesson2.py`` tells you what
is wrong. theta, v and g are vectors of the same length, the other arguments numbers.
"""

import numpy as np


def sgd_step(theta, g, lr, decay):
    """The theta after a step of gradient descent on L + decay/2 sum(theta^2), where g = dL/dtheta."""
    raise NotImplementedError


def momentum_step(theta, v, g, lr, mu):
    """theta, v after a step: v becomes the moving average of the gradients, with weight mu of the past."""
    raise NotImplementedError


def nesterov_step(theta, v, g, lr, mu):
    """theta, v after a step of Nesterov's form: v = mu v - lr g, then theta moves by mu v - lr g."""
    raise NotImplementedError


def take_batch(order, batch_size, step):
    """The indices of the examples in the batch of a step, counted from 0.

    An epoch takes all of ``order``, a permutation of the examples, batch after batch; its last batch is shorter if
    batch_size does not divide their number. Then the next epoch begins at the front again.
    """
    raise NotImplementedError
