"""Layers: one family per file, forward beside backward."""

from xpnet.layers.activations import HardSigmoid, Sigmoid, Softmax, Tanh
from xpnet.layers.attention import SelfAttention, multi_head_self_attention, transformer_block
from xpnet.layers.base import Backward, Forward, Layer, Variables
from xpnet.layers.branches import Add, Concat, Residual, ScaleBy
from xpnet.layers.containers import Sequential
from xpnet.layers.conv import Conv1D, Conv2D, DepthwiseConv2D
from xpnet.layers.conv_transpose import ConvTranspose2D
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout, SpatialDropout, StochasticDepth
from xpnet.layers.errors import LayerError
from xpnet.layers.example_normalization import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from xpnet.layers.gates import GELU, HardSwish, SiLU
from xpnet.layers.global_pooling import AdaptiveAvgPool2D, GlobalAvgPool1D, GlobalAvgPool2D, GlobalMaxPool2D
from xpnet.layers.normalization import BatchNorm, Normalize
from xpnet.layers.pooling import AvgPool2D, MaxPool2D
from xpnet.layers.rectifiers import ELU, SELU, LeakyReLU, PReLU, ReLU, ReLU6, Softplus
from xpnet.layers.reshape import ChannelShuffle, Flatten, Identity, ImageToSequence, PadChannels, ZeroPad2D
from xpnet.layers.sequences import ClassToken, Embedding, FirstPlace, LearnedPositions, SinusoidalPositions
from xpnet.layers.upsample import Upsample2D

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool2D",
    "Add",
    "AvgPool2D",
    "Backward",
    "BatchNorm",
    "ChannelShuffle",
    "ClassToken",
    "Concat",
    "Conv1D",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "FirstPlace",
    "Flatten",
    "Forward",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "ImageToSequence",
    "Layer",
    "LayerError",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "LocalResponseNorm",
    "MaxPool2D",
    "Normalize",
    "PReLU",
    "PadChannels",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Residual",
    "ScaleBy",
    "SelfAttention",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "Softplus",
    "SpatialDropout",
    "StochasticDepth",
    "Tanh",
    "Upsample2D",
    "Variables",
    "ZeroPad2D",
    "multi_head_self_attention",
    "transformer_block",
]
