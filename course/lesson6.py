"""Exercises of lesson 6: features of a deep network.

Replace each ``raise NotImplementedError``; the text is lesson6.md. ``xpnet grade lesson6.py`` tells you what is wrong.
"""

import numpy as np


def receptive_field(kernels, strides):
    """How many pixels of the image, in one direction, a place in the output of the last layer depends on.

    kernels and strides, in the order of the layers, are those of convolutions and poolings.
    """
    raise NotImplementedError


def top_k(scores, k):
    """The k classes with the largest scores of each example, the largest first: (N, classes) -> (N, k) of integers."""
    raise NotImplementedError


def cosine_similarity(a, b):
    """The cosine of the angle between each row of a and each row of b: (A, F) and (B, F) -> (A, B)."""
    raise NotImplementedError
