"""Plain convolutional networks: convolutions that keep the image's size, max-pooling, dense layers."""

from __future__ import annotations

from xpnet.datasets.augment import HorizontalFlip, RandomCrop
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Normalize, ReLU, Sequential
from xpnet.models.registry import Recipe, register
from xpnet.optimizers import Adam, Momentum
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_MNIST_RECIPE = Recipe(  # all but the optimizer and the epochs chosen by validation accuracy
    "mnist",
    TrainConfig(
        epochs=4,
        batch_size=64,
        optimizer=Adam(0.001),
        schedule=Cosine(),
        augmentation=(RandomCrop(1),),
        normalize=1 / 255,
        validation="auto",
        report_every=100,
    ),
)
_FER2013_RECIPE = Recipe(
    "fer2013",
    TrainConfig(
        epochs=30,
        batch_size=64,
        optimizer=Adam(0.001),
        normalize=1 / 255,
        validation="auto",
        report_every=100,
    ),
)
_CIFAR10_RECIPE = Recipe(
    "cifar10",
    TrainConfig(
        epochs=6,
        batch_size=128,
        optimizer=Momentum(0.05, form="nesterov", weight_decay=0.0005),
        schedule=Cosine(),
        augmentation=(RandomCrop(2), HorizontalFlip()),
        normalize=1 / 64,  # about one standard deviation
        validation="auto",
        report_every=100,
    ),
)


@register("cnn_32_64", input_shape=(28, 28, 1), classes=10, recipe=_MNIST_RECIPE)
def cnn_32_64(input_shape: Shape, classes: int) -> Sequential:
    """Two blocks of convolution and max-pooling with 32 and 64 channels, then two hidden dense layers of 100 units.

    376,906 parameters on 28x28 grey images.
    """
    return Sequential(
        [
            Normalize(),
            Conv2D(32, kernel_size=5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Conv2D(64, kernel_size=5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(100),
            ReLU(),
            Dense(100),
            ReLU(),
            Dense(classes),
        ]
    )


@register("fer_cnn", input_shape=(48, 48, 1), classes=7, recipe=_FER2013_RECIPE)
def fer_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.5) -> Sequential:
    """For facial expressions: convolutions with 16 and 32 channels, a dense layer of 1024: 4,740,039 parameters.

    The convolutions pad by 2, so that 48x48 images keep their size up to each pooling: 12x12x32 values reach the dense
    layer, as the published count demands.
    """
    return Sequential(
        [
            Normalize(),
            Conv2D(16, kernel_size=5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Conv2D(32, kernel_size=5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dropout(dropout),
            Dense(1024),
            ReLU(),
            Dropout(dropout),
            Dense(classes),
        ]
    )


@register("cifar10_cnn", input_shape=(32, 32, 3), classes=10, recipe=_CIFAR10_RECIPE)
def cifar10_cnn(input_shape: Shape, classes: int) -> Sequential:
    """Blocks of 3x3 convolution, max-pooling, batch normalisation and ReLU with 32 to 256 channels: 399,146 parameters.

    Normalisation and activation come after the pooling, where a quarter of the elements is left.
    """
    layers: list[Layer] = [Normalize()]
    for channels in (32, 64, 128, 256):
        layers += [Conv2D(channels, kernel_size=3, padding=1, bias=False), MaxPool2D(2), BatchNorm(), ReLU()]
    return Sequential([*layers, Flatten(), Dense(classes)])
