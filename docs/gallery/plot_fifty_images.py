"""
Overfitting fifty images
========================

A test of any training program: with fifty images, a network must reach an accuracy of 100 % on them. If it does not,
something is wrong with the gradient or the learning rate. What it has learned says little about other images.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import Dense, Flatten, ReLU
from xpnet.optimizers import SGD

digits = xpnet.datasets.load("mnist")
fifty = (digits.train_inputs[:50], digits.train_targets[:50])
others = (digits.test_inputs[:1000], digits.test_targets[:1000])
net = xpnet.Network([Flatten(), Dense(256), ReLU(), Dense(128), ReLU(), Dense(10)], digits.input_shape, seed=0)

accuracies = []
for epoch in range(12):
    net.fit(*fifty, optimizer=SGD(0.02), epochs=1, batch_size=10, seed=epoch, progress=False)
    accuracies.append((net.evaluate(*fifty).accuracy, net.evaluate(*others).accuracy))
print("the fifty {:.2f}, others {:.2f}".format(*accuracies[-1]))
assert accuracies[-1][0] == 1

lines = plt.plot(range(1, 13), accuracies, marker="o")
plt.xlabel("epoch")
plt.ylabel("accuracy")
plt.legend(lines, ["the fifty images", "other images"])
plt.show()
