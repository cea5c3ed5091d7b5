"""Layers as pure functions of one flat vector θ of all their parameters."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from xpnet import backend as backends
from xpnet import summary, weights
from xpnet.arguments import (
    NORMALIZE,
    check_indices,
    checked_input_shape,
    in_one_list,
    listed,
    per_channel,
    with_frozen_statistics,
    with_normalize,
)
from xpnet.backend import Array, Backend, on_own_device
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.kernels import table
from xpnet.layers.base import Forward, Layer, State
from xpnet.layers.containers import Sequential
from xpnet.layers.normalization import Normalize
from xpnet.layout import has_names_of, map_tree, walk
from xpnet.losses import Loss, SoftmaxCrossEntropy, checked_loss
from xpnet.runtime import DTYPES
from xpnet.shapes import Shape, channels_last_advice
from xpnet.weights import check_gradients


class LossAndGradient(NamedTuple):
    """Mean loss of a batch, its gradient with respect to θ, the outputs, and the layers' new state."""

    loss: Array
    gradient: Array
    outputs: Array
    state: State


class LayeredFunction:
    """Layers with values: parameters in one flat vector ``theta`` and, apart from it, the layers' ``state``.

    ``forward`` and ``loss_and_gradient`` are pure functions of the arrays they are given, so that a training step made
    of them can be compiled and repeated. ``Network`` adds what most need.
    """

    @in_one_list
    def __init__(
        self,
        layers: Layer | Iterable[Layer | tuple[str, Layer]],
        input_shape: Shape,
        *,
        seed: int | None = 0,
        dtype: str = "float32",
        device: str | None = None,
        backend: str | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.layer: Layer = layers if isinstance(layers, Sequential) else Sequential(listed(layers))
        self.as_built = self.layer
        self.input_shape = checked_input_shape(input_shape)
        self.loss: Loss = SoftmaxCrossEntropy() if loss is None else checked_loss("Network", loss)
        self.own_loss = loss  # the one it was made with, or was last told to train on
        self.dtype = pick("Network, dtype", {name: name for name in DTYPES}, dtype)
        self.backend = backends.resolve(device or "cpu", backend)
        self.is_placed = device is not None or backend is not None
        self.class_names: tuple[str, ...] | None = None
        self.init(seed)

    def init(self, seed: int | None) -> None:
        """Draw new parameters and set the state back to its start; parameters of 0 for None, where a file has them."""
        params, state, self.output_shape = self.layer.init(weights.initial_generator(seed), self.input_shape)
        self.layout = weights.checked_layout(params)
        self.theta = self._drawn = self._asarray(self.layout.flatten(params))
        self.state: State = map_tree(self._asarray, state)
        self.trainable: Array | float = 1.0  # after ``freeze`` a vector like θ with 0 for what stays as it is
        self.fits = 0
        self.optimizer_memory: tuple[Any, Any] | None = None  # the last training's optimizer and its state

    def to(self, device: str, backend: str | None = None) -> Self:
        """Move the network to a device and array library; returns the network.

        Raises
        ------
        InputError
            If the device or library is not there.
        """
        self.is_placed = True
        return self.move(backends.resolve(device, backend))

    def move(self, backend: Backend) -> Self:
        """Move the network to where arrays of a backend are; returns the network."""
        if backend == self.backend:
            return self
        self.backend, is_untrained = backend, self.is_untrained
        self.theta = self._asarray(self.theta)
        self.state = map_tree(self._asarray, self.state)
        if not isinstance(self.trainable, float):
            self.trainable = self._asarray(self.trainable)
        if is_untrained:
            self._drawn = self.theta
        self.optimizer_memory = None
        return self

    @property
    def parameter_count(self) -> int:
        """Number of values that training may change, frozen ones included: the length of θ."""
        return self.layout.size

    @property
    def head(self) -> str:
        """Dotted name of the last layer with parameters, which gives the outputs."""
        return list(self.layout.slots())[-1].rpartition(".")[0]

    @property
    def is_untrained(self) -> bool:
        """Whether the parameters are those that were drawn at first."""
        return self.theta is self._drawn

    @on_own_device
    def forward(
        self, theta: Array, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        """Outputs for a batch in the network's own namespace and dtype."""
        params = self.layout.unflatten(theta)
        self._check_arrays(theta, state, x)
        return self.layer.forward(params, state, x, train=train, key=key)

    @on_own_device
    def loss_and_gradient(
        self,
        theta: Array,
        state: State,
        x: Array,
        targets: Array,
        weights: Array | None = None,
        *,
        key: Array | None = None,
    ) -> LossAndGradient:
        """Mean loss over a batch, weighted if ``weights`` (N,) are given, and its gradient with respect to θ."""
        params = self.layout.unflatten(theta)
        self._check_arrays(theta, state, x)
        self.layer.check_input(params, state, tuple(x.shape), x, train=True, key=key)
        return self.unchecked_loss_and_gradient(theta, state, x, targets, weights, key=key)

    @table.repeated_on_failure
    def unchecked_loss_and_gradient(
        self,
        theta: Array,
        state: State,
        x: Array,
        targets: Array,
        weights: Array | None = None,
        *,
        key: Array | None = None,
    ) -> LossAndGradient:
        """``loss_and_gradient`` for a training step, whose arrays are all known to be the network's.

        outputs, cache = layers(θ, x);  L = loss(outputs, targets);  g = layers' backward of dL/d outputs
        """
        params = self.layout.unflatten(theta)
        outputs, cache, state = self.layer.unchecked_forward(params, state, x, train=True, key=key)
        loss, loss_cache = self.loss.forward(outputs, targets, weights)
        grads = self.layer.unchecked_backward(params, cache, self.loss.backward(loss_cache), need_dx=False).grads
        try:
            gradient = self.layout.flatten(grads)
        except (AttributeError, KeyError, TypeError, ValueError):
            check_gradients(self.layout, grads)
            raise
        if not isinstance(self.trainable, float):
            gradient = gradient * self.trainable
        return LossAndGradient(loss, gradient, outputs, state)

    def parameters(self) -> dict[str, Array]:
        """The tensors in θ by dotted name, such as ``conv1.weight``."""
        return dict(walk(self.layout.unflatten(self.theta)))

    def tensors(self, theta: Array | None = None, state: State | None = None) -> dict[str, Array]:
        """Parameters and state, the network's own unless given, as tensors by dotted name, such as ``conv1.weight``."""
        theta, state = self.theta if theta is None else theta, self.state if state is None else state
        return {**dict(walk(self.layout.unflatten(theta))), **dict(walk(state))}

    def set_tensors(self, tensors: Mapping[str, Any]) -> None:
        """Replace all parameters and state by named arrays of any library, or lists of numbers.

        Raises
        ------
        InputError
            Naming the tensor, if one is missing, left over, has another shape or kind than here, or holds values that
            are not finite in the network's dtype: a network with one of them answers NaN to everything.
        """
        self.theta, self.state = self.from_tensors(tensors)

    def from_tensors(self, tensors: Mapping[str, Any], *, source: str = "Network") -> tuple[Array, State]:
        """Inverse of ``tensors``; raises what ``set_tensors`` does."""
        return weights.from_tensors(self, tensors, source)

    @property
    def normalization(self) -> str | None:
        """The name of the ``Normalize`` that the network begins with; None if it begins otherwise."""
        name, first, _ = next(self.layer.sublayers(self.input_shape))
        return name if isinstance(first, Normalize) else None

    def set_normalization(self, mean: Any, scale: Any) -> None:
        """Let the first layer compute (x - mean) * scale, with a number for all channels or one for each.

        A network that does not begin with ``Normalize`` gets one.

        Raises
        ------
        InputError
            For another number of values, or values that are not finite.
        """
        values = {"mean": self._per_channel("mean", mean), "scale": self._per_channel("scale", scale)}
        if self.normalization is None:
            self.layer, self.as_built = with_normalize(self.layer), with_normalize(self.as_built)
            self.layout = replace(self.layout, tree={NORMALIZE: {}, **self.layout.tree})
        first = str(self.normalization)
        self.state = {first: values, **{name: value for name, value in self.state.items() if name != first}}

    def mask(self, predicate: Callable[[str], bool]) -> Array:
        """A vector like θ: 1 in the tensors whose dotted name the predicate accepts, 0 in the others."""
        slots = self.layout.slots().items()
        return self._asarray(np.concatenate([np.full(s.stop - s.start, float(predicate(name))) for name, s in slots]))

    @on_own_device
    def freeze(self, *patterns: str) -> None:
        """Keep parameters as they are whose dotted name matches a pattern, such as ``conv*`` or ``layer1.*``.

        Their gradient is 0 from now on; an optimizer must also exclude them from weight decay (see ``trainable``). A
        BatchNorm of which all parameters are frozen becomes ``BatchNorm(frozen=True)``, whose running statistics stay
        as they are too; with one of them still learning they follow the batches. ``save`` writes the layers as they
        were built. Call it before training begins: a compiled step does not see later calls. A pattern must match.
        """
        names = list(self.layout.slots())
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                raise InputError(
                    f"Network: expected a pattern that matches a parameter, such as {names[0]}, got {pattern!r}. "
                    "Change it; * stands for any characters."
                )
        is_free = self.mask(lambda name: not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
        self.trainable = is_free * self.trainable
        self._freeze_statistics()

    def layer_shapes(self) -> dict[str, Shape]:
        """The output shape of every layer by dotted name, in the order of computing: blocks follow what they hold."""
        return {name: layer.output_shape(shape) for name, layer, shape in self.layer.parts(self.input_shape) if name}

    def layer_info(self) -> list[summary.LayerInfo]:
        """Every layer that holds no others, with its output shape and number of parameters."""
        return summary.layer_info(self)

    def _check_arrays(self, theta: Array, state: State, x: Array) -> None:
        """Refuse what is not like the network's own, by nothing that a trace would record."""
        self._check_batch(x)
        # Mixed precision gives both in float16.
        if theta.dtype != x.dtype and theta.dtype != self.theta.dtype:
            raise InputError(
                f"Network: expected θ to be {self.dtype} of {self.backend.name}, got {theta.dtype} of "
                f"{backends.namespace_name(theta)}. Convert θ."
            )
        if not has_names_of(self.state, state):
            raise InputError(
                "Network: expected a state with the names of network.state, got another. Pass one like it."
            )

    def _check_batch(self, x: Array) -> None:
        backends.check_array("Array", x)
        self._check_shape(tuple(x.shape))
        check_indices(self.layer, self.input_shape, x)

    def _check_shape(self, shape: Shape) -> None:
        if tuple(shape[1:]) != self.input_shape or shape[0] == 0:
            advice = channels_last_advice(tuple(shape[1:]), self.input_shape)
            raise InputError(
                f"Network: expected inputs {summary.shape_text(('N', *self.input_shape))}, got shape {tuple(shape)}. "
                f"{advice or 'Pass at least one example of this shape.'}"
            )

    def _freeze_statistics(self) -> None:
        """Freeze the BatchNorms of which no parameter learns."""
        trainable = backends.to_numpy(self.trainable)
        learning = {name.rpartition(".")[0] for name, slot in self.layout.slots().items() if trainable[slot.start]}
        self.layer = with_frozen_statistics(self.layer, learning)

    def _asarray(self, array: Any) -> Array:
        return self.backend.asarray(array, self.dtype)

    def _per_channel(self, what: str, value: Any) -> Array:
        return self._asarray(per_channel(what, value, self.input_shape[-1], self.dtype))
