"""
Drawn faces
===========

The expressions of FER2013 as drawn faces (its photographs need an account), a small convolutional network, and what
the channels of its first layer make of one face.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import xpnet
from xpnet.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from xpnet.optimizers import Adam

# How brows slant, and how high the corners and the middle of the mouth are.
EXPRESSIONS = {"angry": (4, 2, 0), "neutral": (0, 0, 0), "happy": (0, 4, -3), "sad": (-3, -3, 3)}
rng = np.random.default_rng(0)


def draw(expression):
    """A face of 48x48 pixels."""
    brows, corners, middle = EXPRESSIONS[expression] + rng.normal(0, 0.7, 3)
    face = Image.new("L", (48, 48), int(rng.integers(20, 90)))
    pen = ImageDraw.Draw(face)
    x, y = 24 + rng.integers(-3, 4, 2)
    pen.ellipse((x - 18, y - 21, x + 18, y + 21), fill=int(rng.integers(150, 230)))
    for side in (-1, 1):
        pen.ellipse((x + 8 * side - 3, y - 8, x + 8 * side + 3, y - 4), fill=40)
        pen.line((x + 3 * side, y - 12 + brows / 2, x + 13 * side, y - 12 - brows / 2), fill=40, width=2)
    pen.line((x - 9, y + 10 - corners, x, y + 10 - middle, x + 9, y + 10 - corners), fill=40, width=2)
    return np.clip(np.asarray(face) + rng.normal(0, 12, (48, 48)), 0, 255)[..., None]


names = [list(EXPRESSIONS)[i % 4] for i in range(800)]
faces = np.stack([draw(name) for name in names]).astype("float32")

layers = [Conv2D(8, 5), ReLU(), MaxPool2D(2), Conv2D(16, 5), ReLU(), MaxPool2D(2), Flatten(), Dense(4)]
net = xpnet.Network(layers, (48, 48, 1), seed=0)
net.fit(faces[:600], names[:600], optimizer=Adam(2e-3), epochs=4, batch_size=32, seed=0, progress=False)
print(f"accuracy on 200 others {net.evaluate(faces[600:], names[600:]).accuracy:.3f}")

# %%

figure, panels = plt.subplots(3, 4, figsize=(8, 6.2), layout="constrained")
for axes, face, name in zip(panels[0], faces, names, strict=False):
    axes.imshow(face[..., 0], cmap="gray")
    axes.set_title(name)
seen = net.features(faces[:1], "relu1")
for number, axes in enumerate(panels[1:].flat):
    axes.imshow(seen[0, :, :, number], cmap="gray")
    axes.set_title(f"channel {number} of relu1", fontsize=9)
for axes in panels.flat:
    axes.set_axis_off()
plt.show()
