"""
What a convolutional network gets wrong
=======================================

A small convolutional network after two passes over ten thousand digits, and the test digits that it gets wrong though
it is surest of them. ``scripts/train.py --model cnn_32_64`` trains a larger one on all, to 99.4 %.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from xpnet.optimizers import Adam

digits = xpnet.datasets.load("mnist")
first = [Conv2D(8, 3, padding=1), ReLU(), MaxPool2D(2)]
second = [Conv2D(16, 3, padding=1), ReLU(), MaxPool2D(2)]
net = xpnet.Network([*first, *second, Flatten(), Dropout(0.3), Dense(10)], digits.input_shape, seed=0)
net.fit(
    *(digits.train_inputs[:10_000], digits.train_targets[:10_000]),
    optimizer=Adam(3e-3),
    epochs=2,
    batch_size=64,
    seed=0,
    progress=False,
)
result = net.evaluate(digits)
print(f"test accuracy {result.accuracy:.3f}")

# %%
# Of each mistake: the true class, the answer, and its probability.

answers = result.probabilities.argmax(axis=1)
certainty = result.probabilities.max(axis=1)
wrong = (answers != digits.test_targets).nonzero()[0]
surest = wrong[certainty[wrong].argsort()[::-1][:18]]

figure, panels = plt.subplots(3, 6, figsize=(9, 5), layout="constrained")
for axes, i in zip(panels.flat, surest, strict=True):
    axes.imshow(digits.test_inputs[i, :, :, 0], cmap="gray_r")
    axes.set_title(f"{digits.test_targets[i]} → {answers[i]} ({certainty[i]:.2f})", fontsize=9)
    axes.set_axis_off()
plt.show()
