"""
Which learning rates work
=========================

The range test: one short training in which the learning rate grows from step to step. Where the smoothed loss falls,
the rate is useful; where it begins to grow, it is too high.

Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.optimizers import Momentum
from xpnet.training import TrainConfig
from xpnet.training.range_test import range_test

digits = xpnet.datasets.load("mnist")
net = xpnet.models.create("mnist_starter", seed=0)
config = TrainConfig(optimizer=Momentum(0.1), batch_size=16)
result = range_test(net, digits, config, low=1e-3, high=100.0, steps=300)
print(f"lowest loss at {result.rate_of_lowest_loss:.2g}; suggestion {result.suggestion}")

plt.semilogx(result.rates, result.losses, ".", color="lightgrey", label="loss of a batch")
plt.semilogx(result.rates, result.smoothed, label="smoothed")
plt.axvline(result.rate_of_lowest_loss, linestyle=":", color="grey")
plt.ylim(0, 4)
plt.xlabel("learning rate")
plt.legend()
plt.show()
