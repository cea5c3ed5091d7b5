"""
Initial weights
===============

With weights drawn from N(0, 1), a neuron with n inputs of size 1 has a weighted input of standard deviation √n:
nearly all sigmoids are saturated from the beginning, and learn slowly. Weights of standard deviation 1/√n keep it at
1.

Source: Nielsen, "Neural Networks and Deep Learning", 2015, chapter 3; LeCun et al., "Efficient backprop", 1998.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.initializers import Normal, lecun_normal
from xpnet.layers import Dense, Flatten, Sigmoid
from xpnet.optimizers import SGD

digits = xpnet.datasets.load("mnist")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name, draw in {"N(0, 1)": Normal(1.0), "N(0, 1/n)": lecun_normal}.items():
    hidden = Dense(30, weight_init=draw)
    net = xpnet.Network([Flatten(), hidden, Sigmoid(), Dense(10, weight_init=draw)], digits.input_shape, seed=0)
    net.set_normalization(0, 1 / 255)
    inputs = net.features(digits.test_inputs[:500], "dense1")
    left.hist(inputs.ravel(), bins=60, range=(-30, 30), density=True, alpha=0.6, label=name)
    history = net.fit(
        digits, optimizer=SGD(0.5), epochs=3, batch_size=10, report_every=1000, validation=0.1, seed=0, progress=False
    )
    right.plot(history["iteration"], history["validation_accuracy"], marker="o", label=name)
    print(f"{name:10} {history['validation_accuracy'][-1]:.4f}")
left.set_xlabel("weighted input of a hidden neuron, before training")
left.set_yticks([])
right.set_xlabel("iteration")
right.set_ylabel("validation accuracy")
right.legend()
plt.show()
