"""
Regression with outliers
========================

A noisy sine of which a tenth of the targets are far off, learned with squared error and with Huber's loss. A real
target makes ``fit`` minimise the squared error; another loss is an object.

Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.layers import Dense, Tanh
from xpnet.losses import Huber, MeanSquaredError
from xpnet.optimizers import Adam

rng = np.random.default_rng(0)
x = rng.uniform(-3, 3, (300, 1))
y = np.sin(2 * x[:, 0]) + rng.normal(0, 0.1, 300)
y[:30] += 4
line = np.linspace(-3, 3, 300)[:, None]

plt.plot(x, y, ".", color="lightgrey")
for loss in (MeanSquaredError(), Huber(0.1)):
    net = xpnet.Network([Dense(32), Tanh(), Dense(32), Tanh(), Dense(1)], (1,), seed=0)
    net.fit(x, y, loss=loss, optimizer=Adam(0.01), epochs=200, batch_size=64, seed=0, progress=False)
    fitted = net.predict(line)
    print(f"{type(loss).__name__:18} off by {np.abs(fitted.ravel() - np.sin(2 * line[:, 0])).mean():.2f}")
    plt.plot(line, fitted.ravel(), label=type(loss).__name__)
plt.legend()
plt.show()
