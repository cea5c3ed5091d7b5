r"""Gradient checks: backward passes against finite differences of the forward pass, in float64.

One entry at a time is moved, and the change of a number L compared with what backward says.

Notes
-----
.. math:: \frac{\partial L}{\partial x_i} \approx \frac{L(x + h e_i) - L(x - h e_i)}{2h}, \quad h = \mathrm{STEP}

.. math:: \text{relative difference} = \frac{|a - b|}{\max(|a|, |b|, \mathrm{FLOOR})} \le \mathrm{TOLERANCE}

STEP is near the cube root of float64's precision, where the error of the formula, of order h², and that of rounding, of
order 1e-16·L/h, are about equal: some 1e-11·L. FLOOR forgives absolute differences below FLOOR·TOLERANCE = 1e-9.

Maxima and rectifiers have kinks. Where one lies within h of an entry, the difference quotient straddles two slopes and
says nothing about backward, so such an entry is passed over and another one drawn. Only the forward pass decides which.

References
----------
The gradient checks of the CS231n notes "Neural networks part 3: learning and evaluation", Stanford; Nocedal and
Wright, "Numerical Optimization", 2nd edition, 2006, section 8.1 (the step).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.layers.base import Layer
from xpnet.layout import Layout, Tree, map_tree, walk
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.random import generator, make_key
from xpnet.shapes import Shape, check_positive

__all__ = ["Entry", "check_layer", "check_loss", "check_network", "separated_values"]

STEP = 1e-5
FLOOR = 1e-4
TOLERANCE = 1e-5
TRIES = 10  # for each entry to be checked, before all are taken to lie on kinks


@dataclass(frozen=True, order=True)
class Entry:
    """The derivative with respect to one entry of a tensor, as both sides see it."""

    name: str
    index: tuple[int, ...]
    finite_difference: float
    backward: float

    @property
    def relative_difference(self) -> float:
        """|a - b| / max(|a|, |b|, FLOOR)."""
        return _relative_difference(self.finite_difference, self.backward)


def check_layer(
    layer: Layer,
    input_shape: Shape,
    *,
    batch: int = 2,
    entries: int = 5,
    seed: int = 0,
    device: str = "cpu",
    backend: str | None = None,
) -> list[Entry]:
    r"""Check dx and the gradient of every parameter at random entries of each.

    Parameters and state are moved off the zeros and ones that many start from, which would hide a forgotten factor.

    Parameters
    ----------
    layer, input_shape
        The layer, also one that is not xpnet's, and the shape of one example.
    batch, entries
        How many examples, and how many entries of each tensor are checked (all, where it has no more).
    seed
        What inputs, parameters and entries depend on.
    device, backend
        Where to compute, and the library.

    Raises
    ------
    InputError
        If the layer does not fit the input shape, gives a gradient of the wrong shape, or is not differentiable at any
        entry tried.

    Notes
    -----
    .. math:: L = \sum_i r_i y_i \quad \text{ with the output } y \text{ while training and fixed random } r

    Examples
    --------
    >>> from xpnet.layers import Dense
    >>> max(entry.relative_difference for entry in check_layer(Dense(3), (4,))) < TOLERANCE
    True
    """
    check_positive("check_layer", "batch", batch)
    rng = generator(seed)
    home = backends.resolve(device, backend)
    params, state, _ = layer.init(rng, input_shape)
    shape = (batch, *input_shape)
    x = separated_values(rng, shape) if layer.index_count is None else rng.integers(0, layer.index_count, shape)
    tensors = {"x": x.astype("float64"), "params": map_tree(_raise_by(rng), params)}
    state = map_tree(lambda value: home.asarray(value, "float64"), map_tree(_raise_by(rng), state))
    layout = Layout.of(tensors)

    def forward(point: np.ndarray):
        tree, key = layout.unflatten(home.asarray(point, "float64")), home.asarray(make_key(seed))
        return tree["params"], layer.forward(tree["params"], state, tree["x"], train=True, key=key)

    point = layout.flatten(tensors)
    params, (y, cache, _) = forward(point)
    r = home.asarray(rng.standard_normal(y.shape), "float64")
    dx, grads = layer.backward(params, cache, r)

    def objective(point: np.ndarray) -> float:
        return float(home.xp.sum(r * forward(point)[1].y))

    found = _compare(objective, layout, point, {"x": dx, "params": grads}, entries, rng)
    return [replace(entry, name=entry.name.removeprefix("params.")) for entry in found]


def check_loss(
    loss: Loss,
    outputs: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    entries: int = 5,
    seed: int = 0,
    device: str = "cpu",
    backend: str | None = None,
) -> list[Entry]:
    """Check a loss's gradient with respect to the outputs at random entries.

    Parameters
    ----------
    loss
        The loss, also one that is not xpnet's.
    outputs, targets, weights
        What its ``forward`` takes.
    entries, seed, device, backend
        As for ``check_layer``.

    Raises
    ------
    InputError
        If the loss does not accept the outputs, targets and weights.
    """
    home = backends.resolve(device, backend)
    tensors = {"outputs": backends.to_numpy(outputs).astype("float64")}
    targets, layout = home.asarray(targets), Layout.of(tensors)
    weights = None if weights is None else home.asarray(weights)

    def forward(point: np.ndarray):
        return loss.forward(layout.unflatten(home.asarray(point, "float64"))["outputs"], targets, weights)

    point = layout.flatten(tensors)
    gradient = {"outputs": loss.backward(forward(point).cache)}
    return _compare(lambda point: float(forward(point).loss), layout, point, gradient, entries, generator(seed))


def check_network(network: Network, images: Array, labels: Array, *, entries: int = 5, seed: int = 0) -> list[Entry]:
    """Check the gradient of a network's loss over a batch at random entries of each parameter tensor.

    Entries are named by their tensor, such as ``conv1.weight``. The network is used where it lies and not changed.

    Parameters
    ----------
    network
        A network of float64.
    images, labels
        A batch for it.
    entries, seed
        As for ``check_layer``.

    Raises
    ------
    InputError
        If the network is not of float64, or its loss not differentiable at any entry tried: images with many equal
        values put whole tensors on kinks, and random ones do not.
    """
    if network.dtype != "float64":
        raise InputError(
            f"check_network: expected a network of float64, got {network.dtype}. Build it with dtype='float64'."
        )
    home = network.backend
    images, labels, key = home.asarray(images, "float64"), home.asarray(labels), home.asarray(make_key(seed))

    def loss_and_gradient(point: np.ndarray):
        return network.loss_and_gradient(home.asarray(point, "float64"), network.state, images, labels, key=key)

    point = backends.to_numpy(network.theta)
    gradient = network.layout.unflatten(loss_and_gradient(point).gradient)
    return _compare(
        lambda point: float(loss_and_gradient(point).loss),
        network.layout,
        point,
        gradient,
        entries,
        generator(seed),
    )


def separated_values(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """An evenly spaced grid between -1 and 1 in random order: n values, 2/n apart and none within 1/n of 0.

    A rectifier's kink is at 0 and a maximum's where two values are equal, so a single layer given these meets neither.
    """
    count = int(np.prod(shape))
    grid = (np.arange(count) - count // 2 + 0.5) * (2 / count)
    return rng.permutation(grid).reshape(shape)


def _raise_by(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Adds small positive numbers: upwards, since a variance must stay positive."""
    return lambda values: values + rng.uniform(0.1, 0.3, values.shape)


def _compare(
    objective: Callable[[np.ndarray], float],
    layout: Layout,
    point: np.ndarray,
    gradient: Tree,
    entries: int,
    rng: np.random.Generator,
) -> list[Entry]:
    """Both derivatives at random entries of each tensor in the layout."""
    check_positive("gradcheck", "entries", entries)
    gradients, center, found = dict(walk(gradient)), objective(point), []
    for name, slot in layout.slots().items():
        backward = _to_host(name, gradients.get(name), slot.shape)
        tried = _draw(rng, backward)[: TRIES * entries]
        differences = ((i, _difference(objective, center, point, slot.start + i)) for i in tried)
        smooth = ((i, difference) for i, difference in differences if difference is not None)
        checked = [
            Entry(name, tuple(map(int, np.unravel_index(i, slot.shape))), difference, float(backward.flat[i]))
            for i, difference in itertools.islice(smooth, entries)
        ]
        if not checked:
            raise InputError(
                f"gradcheck: expected a derivative at one of {len(tried)} entries of {name}, got kinks at all. "
                "Use inputs without zeros or equal values."
            )
        found += sorted(checked)
    return found


def _draw(rng: np.random.Generator, backward: np.ndarray) -> np.ndarray:
    """Positions in random order, in turn where backward is not 0 and where it is, for as long as there are both.

    Most of a max-pool's gradient is 0, and a few entries drawn evenly could all be.
    """
    order = rng.permutation(backward.size)
    zero = backward.flat[order] == 0
    turn = np.where(zero, np.cumsum(zero), np.cumsum(~zero))
    return order[np.lexsort((zero, turn))]


def _difference(
    objective: Callable[[np.ndarray], float], center: float, point: np.ndarray, position: int
) -> float | None:
    """Central difference along one axis, or None if there is a kink within the step.

    There, the differences from the right and from the left, of second order with three points each, disagree.
    """

    def moved(steps: float) -> float:
        elsewhere = point.copy()
        elsewhere[position] += steps * STEP
        return objective(elsewhere)

    left, half_left, half_right, right = map(moved, (-1, -0.5, 0.5, 1))
    from_right = (4 * half_right - right - 3 * center) / STEP
    from_left = (3 * center - 4 * half_left + left) / STEP
    if _relative_difference(from_left, from_right) > TOLERANCE:
        return None
    return (right - left) / (2 * STEP)


def _relative_difference(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b), FLOOR)


def _to_host(name: str, gradient: Array | None, shape: Shape) -> np.ndarray:
    if gradient is None or tuple(gradient.shape) != shape:
        actual = "none" if gradient is None else f"shape {tuple(gradient.shape)}"
        raise InputError(
            f"gradcheck: expected backward to give {name} a gradient of shape {shape}, got {actual}. Correct backward."
        )
    return backends.to_numpy(gradient)
