"""
A vision transformer on digits
==============================

A small transformer takes the sixteen patches of a digit as vectors, with a class token beside them, whose vector is
classified at the end. Attention alone does not know where a patch lies; so each place has a vector of its own, which is
learned and added. Without these the network still sees all patches, but not how they lie. ``scripts/train.py --model
vit_digits`` trains a larger one on all digits.

Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import (
    ClassToken,
    Conv2D,
    Dense,
    FirstPlace,
    Identity,
    ImageToSequence,
    LayerNorm,
    LearnedPositions,
    transformer_block,
)
from xpnet.optimizers import Adam

digits = xpnet.datasets.load("mnist")
learned = (digits.train_inputs[:4000], digits.train_targets[:4000])
held_out = (digits.test_inputs[:1000], digits.test_targets[:1000])

for name, positions in (("with positions", LearnedPositions()), ("without", Identity())):
    patches = [Conv2D(32, 7, stride=7), ImageToSequence(), ClassToken(), positions]
    blocks = [transformer_block(32, heads=4) for _ in range(2)]
    net = xpnet.Network([*patches, *blocks, FirstPlace(), LayerNorm(), Dense(10)], digits.input_shape, seed=0)
    scores = []
    for epoch in range(5):
        net.fit(*learned, optimizer=Adam(3e-3), epochs=1, batch_size=50, seed=epoch, progress=False)
        scores.append(100 * net.evaluate(*held_out).accuracy)
    print(f"{name}: {scores[-1]:.1f} %")
    plt.plot(range(1, 6), scores, marker="o", label=name)
plt.xlabel("epoch")
plt.ylabel("accuracy on other digits (%)")
plt.legend()
plt.show()
