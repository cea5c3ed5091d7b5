"""
LeNet-5
=======

The error rates of LeNet-5 on five thousand digits, which it learns, and on digits that it does not see in training.
``scripts/train.py --model lenet5`` takes all of them.

Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998, figure 5.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.optimizers import Adam

digits = xpnet.datasets.load("mnist")
learned = (digits.train_inputs[:5000], digits.train_targets[:5000])
held_out = (digits.test_inputs[:2000], digits.test_targets[:2000])
net = xpnet.models.create("lenet5", seed=0)

errors = []
for epoch in range(8):
    net.fit(*learned, optimizer=Adam(0.002), epochs=1, batch_size=64, seed=epoch, progress=False)
    errors.append([100 * (1 - net.evaluate(*part).accuracy) for part in (learned, held_out)])
print("training {:.2f} %, held out {:.2f} %".format(*errors[-1]))

lines = plt.plot(range(1, 9), errors, marker="o")
plt.xlabel("epoch")
plt.ylabel("error rate (%)")
plt.legend(lines, ["training", "held out"])
plt.show()
