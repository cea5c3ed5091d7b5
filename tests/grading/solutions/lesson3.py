"""Solutions of lesson 3."""

import numpy as np


def output_size(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def confusion_matrix(labels, predictions, classes):
    M = np.zeros((classes, classes), int)
    for true, predicted in zip(labels, predictions, strict=True):
        M[true, predicted] += 1
    return M


def precision(M):
    return np.diagonal(M) / M.sum(axis=0)


def recall(M):
    return np.diagonal(M) / M.sum(axis=1)
