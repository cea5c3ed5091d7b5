"""Vision transformers: an image as a sequence of patches; with the layer names of timm."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from xpnet.datasets.augment import HorizontalFlip, RandomCrop
from xpnet.initializers import Normal
from xpnet.layers import (
    ClassToken,
    Conv2D,
    Dense,
    FirstPlace,
    ImageToSequence,
    LayerNorm,
    LearnedPositions,
    Normalize,
    Sequential,
    transformer_block,
)
from xpnet.models.imagenet import PLAIN_PIXELS
from xpnet.models.registry import Recipe, check_multiples, register
from xpnet.optimizers import AdamW
from xpnet.schedules import Cosine
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig

_RECIPE = Recipe(  # DeiT's, without its 5 epochs of warm-up, its augmentation and distillation
    "folder",
    TrainConfig(
        epochs=300,
        batch_size=256,
        optimizer=AdamW(0.00025, weight_decay=0.05),
        schedule=Cosine(),
        augmentation=(HorizontalFlip(),),
        normalize=1 / 127.5,
        validation="auto",
        clip_norm=1.0,
        decay_biases=False,
        report_every=100,
    ),
)
_DIGITS_RECIPE = Recipe(
    "mnist",
    TrainConfig(
        epochs=3,
        batch_size=64,
        optimizer=AdamW(0.001, weight_decay=0.05),
        schedule=Cosine(),
        augmentation=(RandomCrop(1),),
        normalize=1 / 80,  # about one standard deviation
        validation="auto",
        clip_norm=1.0,
        decay_biases=False,
        report_every=100,
    ),
)
_EPS = 1e-6
_SMALL = Normal(0.02)


class Size(NamedTuple):
    """Side of a patch in pixels, width of the vectors, number of blocks, and heads of each."""

    patch: int
    width: int
    depth: int
    heads: int


def vit(name: str, size: Size, input_shape: Shape, classes: int, *, dropout: float = 0.0) -> Sequential:
    """Patches as vectors behind a class token, with learned positions; transformer blocks; a dense layer on the token.

    vit_tiny and vit_small have patches of 16x16 pixels, 12 blocks of width 192 and 384, 3 and 6 heads: 5,717,416 and
    22,050,664 parameters on 224x224 colour images of 1000 classes. vit_digits, for 28x28 grey images, has patches of
    7x7, 4 blocks of width 64 and 4 heads: 205,066 parameters.

    Published top-1 errors on ImageNet: 24.5 and 18.6 % after 21,843 classes (Steiner et al.; timm's augreg weights),
    27.8 and 20.2 % on ImageNet alone (DeiT, table 5).

    Raises InputError unless height and width are multiples of the patch's side.
    Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; these sizes: Touvron et al., "Training
    data-efficient image transformers", ICML 2021.
    """
    patch, width, depth, heads = size
    check_multiples(name, input_shape, patch)
    projection = Conv2D(width, patch, stride=patch, weight_init=_SMALL)
    blocks = [transformer_block(width, heads, p=dropout, eps=_EPS, weight_init=_SMALL) for _ in range(depth)]
    return Sequential(
        [
            Normalize(),
            ("patch_embed", Sequential([("proj", projection), ("flatten", ImageToSequence())])),
            ("cls_token", ClassToken(_SMALL)),
            ("pos_embed", LearnedPositions(_SMALL)),
            ("blocks", Sequential.numbered(blocks)),
            ("first", FirstPlace()),
            ("norm", LayerNorm(_EPS)),
            ("head", Dense(classes, _SMALL)),
        ]
    )


for _name, _size in (("vit_tiny", Size(16, 192, 12, 3)), ("vit_small", Size(16, 384, 12, 6))):
    register(_name, input_shape=(224, 224, 3), classes=1000, recipe=_RECIPE, pixels=PLAIN_PIXELS)(
        partial(vit, _name, _size)
    )
register("vit_digits", input_shape=(28, 28, 1), classes=10, recipe=_DIGITS_RECIPE)(
    partial(vit, "vit_digits", Size(7, 64, 4, 4))
)
