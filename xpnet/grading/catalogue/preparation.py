"""Images before and in training: standardising, flipping, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task

_CHANNELS = (0, 1, 2)


def _image_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    cases = []
    for train, new, height, width, channels in ((4, 4, 3, 3, 3), (6, 2, 2, 4, 3)):
        mean, spread = rng.uniform(50, 200, channels), rng.uniform(5, 50, channels)
        cases.append(
            {
                "train": rng.normal(mean, spread, (train, height, width, channels)),
                "x": rng.normal(mean + 9, spread, (new, height, width, channels)),
            }
        )
    return cases


_STANDARDIZE = Task(
    "standardize",
    ("z",),
    lambda train, x: (x - train.mean(axis=_CHANNELS)) / train.std(axis=_CHANNELS),
    _image_cases,
    (
        Mistake(
            "z",
            "takes mean and spread of x: take those of the training images",
            lambda train, x: (x - x.mean(axis=_CHANNELS)) / x.std(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "takes the mean of x and the spread of the training images: take both of these",
            lambda train, x: (x - x.mean(axis=_CHANNELS)) / train.std(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "takes the spread of x and the mean of the training images: take both of these",
            lambda train, x: (x - train.mean(axis=_CHANNELS)) / x.std(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "is the training images: standardise x by them",
            lambda train, x: (train - train.mean(axis=_CHANNELS)) / train.std(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "has one mean and spread for all channels: each channel has its own",
            lambda train, x: (x - train.mean()) / train.std(),
        ),
        Mistake(
            "z",
            "has a mean and spread for each pixel: each channel has one, over axes 0, 1 and 2",
            lambda train, x: (x - train.mean(axis=0)) / train.std(axis=0),
        ),
        Mistake(
            "z",
            "has the means of each image: average over the images as well",
            lambda train, x: (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True),
        ),
        Mistake(
            "z",
            "divides by the variance: divide by its root",
            lambda train, x: (x - train.mean(axis=_CHANNELS)) / train.var(axis=_CHANNELS),
        ),
        Mistake("z", "does not subtract the mean", lambda train, x: x / train.std(axis=_CHANNELS)),
        Mistake("z", "does not divide by the standard deviation", lambda train, x: x - train.mean(axis=_CHANNELS)),
        Mistake("z", "divides by 255: use mean and standard deviation", lambda train, x: x / 255),
        Mistake(
            "z",
            "subtracts the mean after the division",
            lambda train, x: x / train.std(axis=_CHANNELS) - train.mean(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "multiplies by the standard deviation: divide",
            lambda train, x: (x - train.mean(axis=_CHANNELS)) * train.std(axis=_CHANNELS),
        ),
        Mistake(
            "z",
            "is scaled to the smallest and largest value: use mean and standard deviation",
            lambda train, x: (x - train.min()) / (train.max() - train.min()),
        ),
        Mistake(
            "z",
            "has the standard deviation with N - 1: here it is a mean over N",
            lambda train, x: (x - train.mean(axis=_CHANNELS)) / train.std(axis=_CHANNELS, ddof=1),
        ),
        Mistake(
            "z",
            "adds the mean: subtract it",
            lambda train, x: (x + train.mean(axis=_CHANNELS)) / train.std(axis=_CHANNELS),
        ),
    ),
)


def _flip_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"x": rng.normal(size=(4, 3, 3, 3)), "flips": np.array([True, False, True, False])},
        {"x": rng.normal(size=(3, 2, 5, 1)), "flips": np.array([False, True, True])},
    ]


def _where(flips: np.ndarray, yes: np.ndarray, no: np.ndarray | float) -> np.ndarray:
    return np.where(flips[:, None, None, None], yes, no)


_FLIP = Task(
    "flip",
    ("y",),
    lambda x, flips: _where(flips, x[:, :, ::-1], x),
    _flip_cases,
    (
        Mistake(
            "y", "turns images upside down: reverse the columns, axis 2", lambda x, flips: _where(flips, x[:, ::-1], x)
        ),
        Mistake(
            "y", "reverses the channels: reverse the columns, axis 2", lambda x, flips: _where(flips, x[..., ::-1], x)
        ),
        Mistake(
            "y",
            "reverses rows and columns: reverse the columns alone",
            lambda x, flips: _where(flips, x[:, ::-1, ::-1], x),
        ),
        Mistake("y", "reverses the order of the images", lambda x, flips: x[::-1]),
        Mistake("y", "flips all images: flip those where flips is True", lambda x, flips: x[:, :, ::-1]),
        Mistake("y", "flips none", lambda x, flips: x),
        Mistake(
            "y",
            "flips where flips is False: it is the other way round",
            lambda x, flips: _where(flips, x, x[:, :, ::-1]),
        ),
        Mistake("y", "transposes images: reverse the columns", lambda x, flips: _where(flips, x.swapaxes(1, 2), x)),
        Mistake(
            "y", "holds the flipped images alone: keep the others as they are", lambda x, flips: x[flips][:, :, ::-1]
        ),
        Mistake(
            "y",
            "holds the flipped images first: keep the order",
            lambda x, flips: np.concatenate([x[flips][:, :, ::-1], x[~flips]]),
        ),
        Mistake(
            "y",
            "holds flipped images beside the originals: replace these",
            lambda x, flips: np.concatenate([x, x[flips][:, :, ::-1]]),
        ),
        Mistake("y", "has the sign of the pixels changed: move them", lambda x, flips: _where(flips, -x, x)),
        Mistake(
            "y", "is 0 where it is not flipped: keep these images", lambda x, flips: _where(flips, x[:, :, ::-1], 0)
        ),
        Mistake(
            "y", "is shifted by a column: reverse the columns", lambda x, flips: _where(flips, np.roll(x, 1, axis=2), x)
        ),
    ),
)


def _keep_cases(rng: np.random.Generator, first: str) -> list[dict[str, Any]]:
    return [
        {first: rng.normal(size=shape), "keep": rng.random(shape) >= p, "p": p}
        for shape, p in (((4, 4), 0.3), ((3, 6), 0.8))
    ]


def _dropout(output: str, x: str) -> tuple[Mistake, ...]:
    """Forward and backward are the same function, of x and of dy."""
    return (
        Mistake(output, "is not scaled: divide by 1 - p, the share that is kept", lambda x, keep, p: x * keep),
        Mistake(output, "is divided by p: divide by 1 - p, the share that is kept", lambda x, keep, p: x * keep / p),
        Mistake(output, "is multiplied by 1 - p: divide", lambda x, keep, p: x * keep * (1 - p)),
        Mistake(output, "is multiplied by p: divide by 1 - p", lambda x, keep, p: x * keep * p),
        Mistake(output, "drops what keep keeps: it is the other way round", lambda x, keep, p: x * ~keep / (1 - p)),
        Mistake(output, "drops what keep keeps, and divides by p", lambda x, keep, p: x * ~keep / p),
        Mistake(output, "drops nothing: it is 0 where keep is False", lambda x, keep, p: x / (1 - p)),
        Mistake(output, f"is {x} itself: it is 0 where keep is False", lambda x, keep, p: x),
        Mistake(
            output,
            f"is multiplied by 1 - p and drops nothing, as in a test with other scaling: {x} keep/(1 - p)",
            lambda x, keep, p: x * (1 - p),
        ),
        Mistake(output, f"lacks {x}", lambda x, keep, p: keep / (1 - p)),
        Mistake(
            output,
            "is divided by the share that this mask happens to keep: by 1 - p",
            lambda x, keep, p: x * keep / keep.mean(),
        ),
        Mistake(output, "adds the mask: multiply", lambda x, keep, p: x + keep / (1 - p)),
        Mistake(output, "is scaled twice", lambda x, keep, p: x * keep / (1 - p) ** 2),
        Mistake(output, "has the dropped entries left out: set them to 0", lambda x, keep, p: x[keep] / (1 - p)),
        Mistake(output, "scales what is dropped, too: it is 0", lambda x, keep, p: np.where(keep, x, x / (1 - p))),
        Mistake(output, "keeps what is dropped unscaled: it is 0", lambda x, keep, p: np.where(keep, x / (1 - p), x)),
    )


_DROPOUT_FORWARD = Task(
    "dropout_forward",
    ("y",),
    lambda x, keep, p: x * keep / (1 - p),
    lambda rng: _keep_cases(rng, "x"),
    _dropout("y", "x"),
)
_DROPOUT_BACKWARD = Task(
    "dropout_backward",
    ("dx",),
    lambda dy, keep, p: dy * keep / (1 - p),
    lambda rng: _keep_cases(rng, "dy"),
    _dropout("dx", "dy"),
)

STANDARDIZE = Exercise("standardise", (_STANDARDIZE,))
FLIP = Exercise("flip", (_FLIP,))
DROPOUT = Exercise("dropout", (_DROPOUT_FORWARD, _DROPOUT_BACKWARD))
