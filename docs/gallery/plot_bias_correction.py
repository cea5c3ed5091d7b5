"""
The bias of a running average
=============================

A running average m = βm + (1 - β)g that begins at 0 is too small for about 1/(1 - β) steps: its expected value is (1
- βᵗ) times that of g. Adam divides by that factor. Without the correction its first steps would be far too large,
since the average of the squares, with the larger β, is too small for longer.

Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 3.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.optimizers import Adam

rng = np.random.default_rng(0)
steps = np.arange(1, 201)
gradients = rng.normal(1.0, 0.3, len(steps))

average, averages = 0.0, []
for g in gradients:
    average = 0.98 * average + 0.02 * g
    averages.append(average)
averages = np.array(averages)

# %%
# Adam's first step is of the size of its learning rate, whatever the gradient's size.

theta, optimizer = np.zeros(1), Adam(0.001)
theta, state = optimizer.update(theta, gradients[:1] * 1e-3, optimizer.init(theta))
print(f"first step of Adam(0.001): {theta[0]:.6f}")
assert abs(theta[0] + 0.001) < 1e-6

plt.plot(steps, gradients, ".", color="lightgrey", label="g")
plt.plot(steps, averages, label="running average, β = 0.98")
plt.plot(steps, averages / (1 - 0.98**steps), label="divided by 1 - βᵗ")
plt.xlabel("step")
plt.legend()
plt.show()
