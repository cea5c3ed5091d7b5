"""
Vanishing gradients
===================

The gradient of each layer's weights in networks of ten hidden layers, before any training. With sigmoids it shrinks
from layer to layer; with rectifiers and initial weights made for them it keeps its size; batch normalisation keeps it
with sigmoids too.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.layers import BatchNorm, Dense, Flatten, ReLU, Sigmoid

digits = xpnet.datasets.load("mnist")
images, labels = digits.train_inputs[:256], digits.train_targets[:256]


def gradient_sizes(*activation):
    """The root mean square of the gradient of each hidden layer's weights."""
    hidden = [layer for _ in range(10) for layer in (Dense(100), *(kind() for kind in activation))]
    net = xpnet.Network([Flatten(), *hidden, Dense(10)], digits.input_shape, seed=0)
    net.set_normalization(images.mean(), 1 / images.std())
    _, gradient, _, _ = net.loss_and_gradient(net.theta, net.state, images.astype("float32"), labels)
    grads = net.layout.unflatten(gradient)
    return [float(np.sqrt(np.mean(grads[f"dense{i}"]["weight"] ** 2))) for i in range(1, 11)]


# %%

for name, activation in {
    "sigmoid": (Sigmoid,),
    "ReLU": (ReLU,),
    "batch normalisation, sigmoid": (BatchNorm, Sigmoid),
}.items():
    sizes = gradient_sizes(*activation)
    print(f"{name:30} last by first layer: {sizes[-1] / sizes[0]:.3g}")
    plt.semilogy(range(1, 11), sizes, marker="o", label=name)
plt.xlabel("hidden layer")
plt.ylabel("root mean square of dL/dw")
plt.legend()
plt.show()
