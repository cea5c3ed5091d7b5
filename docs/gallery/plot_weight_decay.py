r"""
Weight decay by itself
======================

Each step of gradient descent with weight decay λ multiplies the weights by 1 - αλ. A loss of which the L2 term is
:math:`\frac{\lambda}{2n}\sum w^2`, n examples in batches of m, decays by αλ/n in each of the n/m steps of an epoch:
after an epoch what is left without any gradient is

.. math:: \left(1 - \frac{\alpha\lambda}{n}\right)^{n/m} \approx e^{-\alpha\lambda/m}.

Source: Nielsen, "Neural Networks and Deep Learning", 2015, chapter 3.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.optimizers import SGD

alpha, lambda_, n, m = 0.5, 5.0, 50_000, 10
optimizer = SGD(alpha, weight_decay=lambda_ / n)
weights, state, left = np.ones(3), {}, [1.0]
for _ in range(8):
    for _ in range(n // m):
        weights, state = optimizer.update(weights, np.zeros(3), state)
    left.append(weights[0])

epochs = np.arange(9)
print(f"after an epoch {left[1]:.5f}, exp(-αλ/m) = {np.exp(-alpha * lambda_ / m):.5f}")
assert np.allclose(left, np.exp(-alpha * lambda_ / m * epochs), rtol=1e-3)

plt.plot(epochs, left, "o", label="steps of SGD with a gradient of 0")
plt.plot(epochs, np.exp(-alpha * lambda_ / m * epochs), label="exp(-αλ/m · epochs)")
plt.xlabel("epoch")
plt.ylabel("weight")
plt.legend()
plt.show()
