"""Exercises of lesson 1: layers and backpropagation.

Replace each ``raise NotImplementedError``; the derivations are in lesson1.md. ``xpnet grade lesson1.py`` tells you what
is wrong. All arrays are NumPy arrays, and rows are examples: x[n] is the n-th one of a batch of N.
"""

import numpy as np


def dense_forward(x, W, b):
    """Compute y = x W^T + b.

    Shapes: x (N, features), W (units, features), b (units,) -> y (N, units).
    """
    raise NotImplementedError


def dense_backward(x, W, dy):
    """dx, dW, db: the gradients of a loss L with respect to x, W and b, given dy = dL/dy.

    Shapes: x (N, features), W (units, features), dy (N, units) -> dx like x, dW like W, db (units,).
    """
    raise NotImplementedError


def relu_forward(x):
    """Compute y = max(x, 0), entry by entry, for x of any shape."""
    raise NotImplementedError


def relu_backward(x, dy):
    """dx, given dy. The derivative at x = 0 is taken to be 0."""
    raise NotImplementedError


def softmax_cross_entropy(z, labels):
    """loss, dz: the mean of -log(probability of the true class), and its gradient with respect to the logits z.

    Shapes: z (N, classes), labels (N,) of integers below classes -> loss, a number, and dz (N, classes).
    """
    raise NotImplementedError


def conv_forward(x, W, b):
    """y[n,i,j,o] = b[o] + sum_{u,v,c} W[o,u,v,c] x[n,i+u,j+v,c], without padding.

    Shapes: x (N, H, W, C), W (O, k, k, C), b (O,) -> y (N, H-k+1, W-k+1, O).
    """
    raise NotImplementedError


def conv_backward(x, W, dy):
    """dx, dW, db: the gradients with respect to x, W and b, given dy (N, H-k+1, W-k+1, O)."""
    raise NotImplementedError


def max_pool_forward(x):
    """The maximum of each 2 x 2 window, for images of even height and width: (N, H, W, C) -> (N, H/2, W/2, C)."""
    raise NotImplementedError


def max_pool_backward(x, dy):
    """dx, given dy (N, H/2, W/2, C). Of equal entries the first one by rows is the winner."""
    raise NotImplementedError
