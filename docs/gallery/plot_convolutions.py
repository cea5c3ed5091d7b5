"""
Why convolutions
================

Three thousand digits, each moved by up to six pixels. A network of dense layers must learn each pattern in each place,
and weight decay (L2) does not change that. Convolutions look for the same patterns everywhere, with a small part of the
parameters. On CIFAR-10, which this page would have to download: ``scripts/train.py --model mlp --hidden 512 256 --data
cifar10 --weight-decay 0.001`` and ``scripts/train.py --model cifar10_cnn``.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from xpnet.optimizers import AdamW

digits = xpnet.datasets.load("mnist")
rng = np.random.default_rng(0)


def moved(images):
    """Each image moved by up to six pixels along both axes, around the edge."""
    return np.stack([np.roll(image, rng.integers(-6, 7, 2), axis=(0, 1)) for image in images])


learned = (moved(digits.train_inputs[:3000]), digits.train_targets[:3000])
held_out = (moved(digits.test_inputs[:2000]), digits.test_targets[:2000])
plain = [Flatten(), Dense(256), ReLU(), Dense(10)]
convolutions = [layer for channels in (8, 16, 32) for layer in (Conv2D(channels, 3, padding=1), ReLU(), MaxPool2D(2))]

for name, layers, weight_decay in [
    ("dense", plain, 0.0),
    ("dense, weight decay", plain, 0.3),
    ("convolutions", [*convolutions, Flatten(), Dense(10)], 0.0),
]:
    net = xpnet.Network(layers, digits.input_shape, seed=0)
    optimizer, scores = AdamW(3e-3, weight_decay=weight_decay), []
    for epoch in range(8):
        net.fit(*learned, optimizer=optimizer, epochs=1, batch_size=64, seed=epoch, progress=False)
        scores.append(100 * net.evaluate(*held_out).accuracy)
    own = 100 * net.evaluate(*learned).accuracy
    print(f"{name}: {net.theta.size:,} parameters, {own:.1f} % of the learned, {scores[-1]:.1f} % of the others")
    plt.plot(range(1, 9), scores, marker="o", label=name)
plt.xlabel("epoch")
plt.ylabel("accuracy on other digits (%)")
plt.legend()
plt.show()
