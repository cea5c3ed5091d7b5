"""
Decision boundaries while a network learns
==========================================

Two spirals and a network with two hidden layers of 32 units: what it answers after 20, 100 and 1,000 steps. Calling
``fit`` again continues the training.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.layers import Dense, Tanh
from xpnet.optimizers import Adam

rng = np.random.default_rng(0)
turns = np.sqrt(rng.uniform(0.05, 1, 400)) * 3 * np.pi
labels = np.arange(400) % 2
angle = turns + np.pi * labels
points = np.stack([turns * np.cos(angle), turns * np.sin(angle)], axis=1) / 10 + rng.normal(0, 0.03, (400, 2))

net = xpnet.Network([Dense(32), Tanh(), Dense(32), Tanh(), Dense(2)], (2,), seed=0)
grid = np.stack(np.meshgrid(np.linspace(-1.1, 1.1, 200), np.linspace(-1.1, 1.1, 200)), axis=-1)

figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axes, (more, total) in zip(panels, [(20, 20), (80, 100), (900, 1000)], strict=True):
    net.fit(points, labels, optimizer=Adam(0.01), iterations=more, batch_size=64, seed=0, progress=False)
    answers = net.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(200, 200)
    axes.contourf(grid[..., 0], grid[..., 1], answers, levels=20, cmap="RdBu", alpha=0.7)
    for label, colour in enumerate(["darkred", "darkblue"]):
        axes.plot(*points[labels == label].T, ".", color=colour, markersize=3)
    axes.set_title(f"{total} steps: {net.evaluate(points, labels).accuracy:.2f}")
    axes.set_axis_off()
plt.show()
