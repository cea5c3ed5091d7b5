"""Layers: one family per file, forward beside backward."""

from xpnet.layers.activations import ReLU
from xpnet.layers.base import Backward, Forward, Layer, LayerError, Variables
from xpnet.layers.containers import Sequential
from xpnet.layers.conv import Conv2D
from xpnet.layers.dense import Dense
from xpnet.layers.normalization import Normalize
from xpnet.layers.pooling import MaxPool2D
from xpnet.layers.reshape import Flatten

__all__ = [
    "Backward",
    "Conv2D",
    "Dense",
    "Flatten",
    "Forward",
    "Layer",
    "LayerError",
    "MaxPool2D",
    "Normalize",
    "ReLU",
    "Sequential",
    "Variables",
]
