"""
Filters, and what they see
==========================

The sixteen 5x5 filters of the first layer after a short training on digits, and the sixteen images that they make of
one digit.
"""

import matplotlib.pyplot as plt

import xpnet

digits = xpnet.datasets.load("mnist")
net = xpnet.models.create("mnist_starter", seed=0)
net.fit(digits, optimizer=xpnet.optimizers.Momentum(0.1), iterations=500, batch_size=16, seed=0, progress=False)
print(f"test accuracy {net.evaluate(digits).accuracy:.3f}")

weight = net.layout.unflatten(net.theta)["conv1"]["weight"]
seen = net.features(digits.test_inputs[:1], "relu1")

figure, panels = plt.subplots(4, 8, figsize=(9, 4.6), layout="constrained")
for number, (above, below) in enumerate(zip(panels[:2].flat, panels[2:].flat, strict=True)):
    above.imshow(weight[number, :, :, 0], cmap="gray")
    below.imshow(seen[0, :, :, number], cmap="gray")
for axes in panels.flat:
    axes.set_axis_off()
plt.show()
