"""Exercises of lesson 4: tiny images.

Replace each ``raise NotImplementedError``; the text is lesson4.md. ``xpnet grade lesson4.py`` tells you what is wrong.
"""

import numpy as np


def standardize(train, x):
    """Subtract from x the mean of each channel and divide by its standard deviation, both over all training images.

    Shapes: train (M, H, W, C), x (N, H, W, C) -> like x.
    """
    raise NotImplementedError


def flip(x, flips):
    """Images mirrored left to right where flips is True, the others as they are.

    Shapes: x (N, H, W, C), flips (N,) of booleans -> like x.
    """
    raise NotImplementedError


def dropout_forward(x, keep, p):
    """y: x where keep is True, and scaled so that it is x on average; else 0. Each entry is dropped with probability p.

    Shapes: keep is an array of booleans like x, p a number -> like x.
    """
    raise NotImplementedError


def dropout_backward(dy, keep, p):
    """dx, given dy."""
    raise NotImplementedError
