"""
Four optimizers
===============

Gradient descent, momentum, AdaGrad and Adam on a network with two hidden layers of 100 units: the same initial weights
and the same batches, without and with batch normalisation. Ten thousand digits here; ``scripts/compare_optimizers.py``
takes all, for twenty epochs.

Source: Duchi et al., JMLR 12, 2011 (AdaGrad); Kingma and Ba, ICLR 2015 (Adam); Ioffe and Szegedy, ICML 2015 (batch
normalisation).
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import BatchNorm, Dense, Flatten, ReLU
from xpnet.optimizers import SGD, AdaGrad, Adam, Momentum

digits = xpnet.datasets.load("mnist")
images, labels = digits.train_inputs[:10_000], digits.train_targets[:10_000]
held_out = (digits.test_inputs[:2000], digits.test_targets[:2000])
optimizers = {"gradient descent": SGD(0.2), "momentum": Momentum(0.5), "AdaGrad": AdaGrad(0.01), "Adam": Adam(0.001)}

figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for axes, norm in zip(panels, ([], [BatchNorm()]), strict=True):
    for name, optimizer in optimizers.items():
        net = xpnet.Network(
            [Flatten(), Dense(100), *norm, ReLU(), Dense(100), *norm, ReLU(), Dense(10)], digits.input_shape, seed=0
        )
        history = net.fit(
            images, labels, validation=held_out, optimizer=optimizer, epochs=6, batch_size=100, seed=0, progress=False
        )
        axes.plot(range(1, 7), history["validation_accuracy"], marker=".", label=name)
        print(f"{name:17} {history['validation_accuracy'][-1]:.3f}")
    axes.set_xlabel("epoch")
panels[0].set_title("without batch normalisation")
panels[1].set_title("with batch normalisation")
panels[0].set_ylabel("validation accuracy")
panels[1].legend()
plt.show()
