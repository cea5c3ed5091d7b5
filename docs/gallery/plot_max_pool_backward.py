"""
Max-pooling with windows that overlap
=====================================

A max-pool of 3x3 with stride 2 on a small image, and its backward pass for a gradient of 1 in each output: each goes
to the largest pixel of its window, and a pixel that is the largest of several windows gets the sum.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.layers import MaxPool2D

rng = np.random.default_rng(4)
x = rng.permutation(49).reshape(1, 7, 7, 1).astype(float)
pool = MaxPool2D(3, stride=2)
y, cache, _ = pool.forward({}, {}, x, train=True)
dx, _ = pool.backward({}, cache, np.ones_like(y))

# %%
# The same by hand, window by window.

by_hand = np.zeros((7, 7))
for i in range(3):
    for j in range(3):
        patch = x[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, 0]
        u, v = np.unravel_index(patch.argmax(), patch.shape)
        by_hand[2 * i + u, 2 * j + v] += 1
assert (by_hand == dx[0, :, :, 0]).all()

figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axes, (name, image) in zip(panels, {"x": x, "y": y, "dL/dx": dx}.items(), strict=True):
    axes.imshow(image[0, :, :, 0], cmap="viridis")
    for (i, j), value in np.ndenumerate(image[0, :, :, 0]):
        axes.text(j, i, f"{value:.0f}", ha="center", va="center", color="white" if value < image.max() / 2 else "black")
    axes.set_title(name)
    axes.set_axis_off()
plt.show()
