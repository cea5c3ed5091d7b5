"""
Overfitting, and what helps
===========================

Two hundred digits and a network with 100,000 weights: the training images are soon learned, the others are not.
Dropout and weight decay narrow the gap.

Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import Dense, Dropout, Flatten, ReLU
from xpnet.optimizers import Adam, AdamW

digits = xpnet.datasets.load("mnist")
few = (digits.train_inputs[:200], digits.train_targets[:200])
held_out = (digits.test_inputs[:2000], digits.test_targets[:2000])

figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
variants = {
    "plain": ([], Adam(1e-3)),
    "dropout 0.5": ([Dropout(0.5)], Adam(1e-3)),
    "weight decay": ([], AdamW(1e-3, weight_decay=1.0)),
}
for axes, (name, (extra, optimizer)) in zip(panels, variants.items(), strict=True):
    net = xpnet.Network([Flatten(), Dense(128), ReLU(), *extra, Dense(10)], digits.input_shape, seed=0)
    history = net.fit(*few, validation=held_out, optimizer=optimizer, epochs=60, batch_size=20, seed=0, progress=False)
    epochs = range(1, 61)
    axes.plot(epochs, history["train_accuracy"], label="training")
    axes.plot(epochs, history["validation_accuracy"], label="held out")
    axes.set_title(f"{name}: {history['validation_accuracy'][-1]:.3f}")
    axes.set_xlabel("epoch")
panels[0].set_ylim(0.5, 1.01)
panels[0].legend()
plt.show()
