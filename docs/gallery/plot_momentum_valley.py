"""
Momentum in a valley
====================

Forty steps of gradient descent on a long valley, L = (x² + 25 y²) / 2. Without momentum the step that the steep
direction allows is too small for the flat one. The forms of ``Momentum`` differ in what they remember.

Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.optimizers import SGD, Momentum

scales = np.array([1.0, 25.0])
optimizers = {
    "SGD(0.035)": SGD(0.035),
    "heavy ball": Momentum(0.035, 0.8, form="heavy-ball"),
    "Nesterov": Momentum(0.035, 0.8, form="nesterov"),
    "moving average": Momentum(0.175, 0.8, form="moving-average"),
}

figure, panels = plt.subplots(2, 2, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
grid = np.meshgrid(np.linspace(-11, 5, 200), np.linspace(-2.4, 2.4, 100))
for axes, (name, optimizer) in zip(panels.flat, optimizers.items(), strict=True):
    theta = np.array([-10.0, 2.0])
    state, path = optimizer.init(theta), [theta]
    for _ in range(40):
        theta, state = optimizer.update(theta, scales * theta, state)
        path.append(theta)
    path = np.array(path)
    axes.contour(*grid, (grid[0] ** 2 + 25 * grid[1] ** 2) / 2, levels=12, colors="lightgrey", linewidths=0.7)
    axes.plot(path[:, 0], path[:, 1], marker=".")
    axes.set_title(f"{name}: L = {(scales * theta**2).sum() / 2:.2g} after 40 steps")
plt.show()
