"""
Hyper-parameters at random
==========================

Twenty networks whose learning rate and width are drawn at random. The rate decides, the width hardly: of a grid of the
same size, only four or five rates would have been tried. ``scripts/search.py`` searches so with Optuna, gives up what
falls behind, and keeps all trials in a file that several processes can share.

Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.errors import TrainingDivergedError
from xpnet.layers import Dense, Flatten, ReLU
from xpnet.optimizers import Momentum

digits = xpnet.datasets.load("mnist")
images, labels = digits.train_inputs[:3000], digits.train_targets[:3000]
held_out = (digits.test_inputs[:2000], digits.test_targets[:2000])

rng, trials = np.random.default_rng(0), []
for _ in range(20):
    rate, width = 10 ** rng.uniform(-3, 1), int(2 ** rng.uniform(4, 8))
    net = xpnet.Network([Flatten(), Dense(width), ReLU(), Dense(10)], digits.input_shape, seed=0)
    try:
        net.fit(images, labels, optimizer=Momentum(rate), epochs=3, batch_size=50, seed=0, progress=False)
        trials.append((rate, width, net.evaluate(*held_out).accuracy))
    except TrainingDivergedError:
        trials.append((rate, width, 0.1))  # as good as guessing

rates, widths, accuracies = np.array(trials).T
best = accuracies.argmax()
print(f"best: learning rate {rates[best]:.2g}, {widths[best]:.0f} units, {accuracies[best]:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3), sharey=True, layout="constrained")
left.semilogx(rates, accuracies, "o")
left.set_xlabel("learning rate")
left.set_ylabel("validation accuracy")
right.semilogx(widths, accuracies, "o", base=2)
right.set_xlabel("hidden units")
plt.show()
