"""
A class for each pixel
======================

A small U-Net finds the pixels of drawn shapes, at half size, in images that it has not seen. At each scale the features
of the way down, which still know where the edges are, stand beside those of the way up. ``scripts/train.py --model
unet_small`` trains a larger one, which also tells discs, squares and triangles apart.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.layers import BatchNorm, Concat, Conv2D, ConvTranspose2D, Identity, MaxPool2D, ReLU, Sequential
from xpnet.optimizers import Adam


def convolution(channels):
    """Features of three by three pixels."""
    return [Conv2D(channels, 3, padding=1, bias=False), BatchNorm(), ReLU()]


def level(channels, levels):
    """Features, then themselves beside what comes up from half the pixels, and features of both."""
    if levels == 1:
        return convolution(channels)
    below = Sequential([MaxPool2D(2), *level(2 * channels, levels - 1), ConvTranspose2D(channels, 2, stride=2)])
    return [*convolution(channels), Concat([Identity(), below]), *convolution(channels)]


shapes = xpnet.datasets.load("shapes")
images, classes = shapes.train_inputs[:400, ::2, ::2], (shapes.train_targets[:400, ::2, ::2] > 0).astype(int)
others, true = shapes.test_inputs[:100, ::2, ::2], (shapes.test_targets[:100, ::2, ::2] > 0).astype(int)

net = xpnet.Network([*level(8, 3), Conv2D(2, 1)], (32, 32, 3), seed=0)
net.fit(images, classes, optimizer=Adam(0.005), epochs=5, batch_size=10, seed=0, progress=False)
answers = net.predict(others)
print(
    f"{100 * (answers == true).mean():.1f} % of the pixels are right; {100 * (true == 0).mean():.1f} % are background"
)

# %%
# Images, the pixels of their shapes, and those that the network predicts.

figure, rows = plt.subplots(3, 5, figsize=(9, 5.6), layout="constrained")
for row, name, parts in zip(rows, ("image", "true", "predicted"), (others, true, answers), strict=True):
    row[0].set_title(name, loc="left")
    for axes, part in zip(row, parts, strict=False):
        axes.imshow(part)
        axes.set_axis_off()
plt.show()
