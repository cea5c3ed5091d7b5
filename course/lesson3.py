"""Exercises of lesson 3: digits.

Replace each ``raise NotImplementedError``; the text is lesson3.md. ``xpnet grade lesson3.py`` tells you what is wrong.
"""

import numpy as np


def output_size(size, kernel, stride, padding):
    """How many places a window has along an image of ``size`` pixels, padded with ``padding`` pixels on either side."""
    raise NotImplementedError


def confusion_matrix(labels, predictions, classes):
    """M[t, p], the number of examples of class t that were predicted as class p.

    Shapes: labels (N,), predictions (N,), integers below classes -> M (classes, classes) of integers.
    """
    raise NotImplementedError


def precision(M):
    """For each class, the fraction of its predictions that are right; NaN for a class that was never predicted."""
    raise NotImplementedError


def recall(M):
    """For each class, the fraction of its examples that were found; NaN for a class without examples."""
    raise NotImplementedError
