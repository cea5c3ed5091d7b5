r"""
Why deep sigmoid networks learn slowly
======================================

The gradient passes back through a sigmoid neuron with input weight w and bias b as a factor w σ'(wa + b), a the
activation before it. Gradients vanish unless such factors are at least 1. Since σ' is at most 1/4, that needs
:math:`|w| \ge 4`; and a large w makes the sigmoid steep, so that wa + b lies on its slope for few activations a only.
The width of the interval of those a is

.. math:: \frac{2}{|w|} \log\left(\frac{|w|\,(1 + \sqrt{1 - 4/|w|})}{2} - 1\right),

which is at most 0.45, at :math:`|w| = 6.9`.

Source: Nielsen, "Neural Networks and Deep Learning", 2015, chapter 5.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.layers import Sigmoid

# %%
# The formula beside a count on a fine grid of activations, with xpnet's own derivative.

weights = np.linspace(4.01, 30, 800)
widths = 2 / weights * np.log(weights * (1 + np.sqrt(1 - 4 / weights)) / 2 - 1)

activations = np.linspace(-2, 2, 20001)[:, None]
counted = []
for w in weights[::40]:
    y, cache, _ = Sigmoid().forward({}, {}, w * activations, train=True)  # b = 0 moves the interval to the middle
    slope, _ = Sigmoid().backward({}, cache, np.ones_like(y))
    counted.append((w * slope >= 1).mean() * 4)

best = weights[widths.argmax()]
print(f"widest at |w| = {best:.1f}: {widths.max():.2f}")
assert abs(best - 6.9) < 0.05
assert abs(widths.max() - 0.45) < 0.005
assert np.allclose(counted, widths[::40], atol=1e-3)

plt.plot(weights, widths, label="formula")
plt.plot(weights[::40], counted, "o", label="counted")
plt.axvline(best, linestyle=":", color="grey")
plt.xlabel("|w|")
plt.ylabel("width of the interval of activations")
plt.legend()
plt.show()
