"""A network: layers, the flat vector θ of all their parameters, and a loss."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet import backend as backends
from xpnet import summary, weights
from xpnet.backend import Array, Backend
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.layers.base import Forward, Layer, State
from xpnet.layers.containers import Sequential, map_leaves
from xpnet.layers.normalization import BatchNorm, Normalize
from xpnet.layout import map_tree, walk
from xpnet.losses import Loss, SoftmaxCrossEntropy
from xpnet.random import Stream, generator
from xpnet.runtime import DTYPES, Runtime
from xpnet.shapes import Shape, check_positive
from xpnet.torch_weights import torch_name

if TYPE_CHECKING:
    from xpnet.datasets import Dataset
    from xpnet.datasets.augment import Augmentation
    from xpnet.optimizers import Optimizer
    from xpnet.schedules import Schedule
    from xpnet.training import AnyEvaluation, Callback, EarlyStopping, History


_NORMALIZE = "normalize"  # the name of a Normalize that training puts in front


class LossAndGradient(NamedTuple):
    """Mean loss of a batch, its gradient with respect to θ, the outputs, and the layers' new state."""

    loss: Array
    gradient: Array
    outputs: Array
    state: State


class Network:
    """Layers with values: parameters in one flat vector ``theta`` and, apart from it, the layers' ``state``.

    ``fit``, ``predict`` and ``evaluate`` are all that most need. ``forward`` and ``loss_and_gradient`` are pure
    functions of the arrays they are given, for those who write their own loops.

    ``layers`` is a list of layers, or (name, layer) pairs, or one layer. ``input_shape`` is that of one example without
    the batch: (H, W, C) for images, (F,) for vectors. Initial values depend on ``seed`` only, not on the device or
    backend. Without a ``device`` a network is on the CPU, in NumPy, until ``fit`` moves it to where its data are; without
    a ``loss`` it is cross-entropy until ``fit`` finds other targets. ``class_names`` are those of what it was fitted to.

    Raises InputError if the layers do not fit the input shape or each other, naming the layer.
    """

    def __init__(
        self,
        layers: Layer | Iterable[Layer | tuple[str, Layer]],
        input_shape: Shape,
        *,
        seed: int = 0,
        dtype: str = "float32",
        device: str | None = None,
        backend: str | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.layer = self.as_built = layers if isinstance(layers, Sequential) else Sequential(_listed(layers))
        self.input_shape = _checked_input_shape(input_shape)
        self.loss: Loss = loss or SoftmaxCrossEntropy()
        self.has_own_loss = loss is not None
        self.dtype = pick("Network, dtype", {name: name for name in DTYPES}, dtype)
        self.backend = backends.resolve(device or "cpu", backend)
        self.is_placed = device is not None or backend is not None
        self.class_names: tuple[str, ...] | None = None
        self.init(seed)

    def init(self, seed: int) -> None:
        """Draw new parameters and set the state back to its start."""
        params, state, self.output_shape = self.layer.init(generator(seed, Stream.WEIGHTS), self.input_shape)
        self.layout = weights.checked_layout(params)
        self.theta = self._drawn = self._asarray(self.layout.flatten(params))
        self.state: State = map_tree(self._asarray, state)
        self.trainable: Array | float = 1.0  # after ``freeze`` a vector like θ with 0 for what stays as it is
        self.fits = 0
        self.optimizer_memory: tuple[Any, Any] | None = None  # the last training's optimizer and its state

    def to(self, device: str, backend: str | None = None) -> Network:
        """Move the network to a device and array library; returns the network.

        Raises InputError if the device or library is not there.
        """
        self.is_placed = True
        return self.move(backends.resolve(device, backend))

    @property
    def parameter_count(self) -> int:
        """Number of values that training may change, frozen ones included: the length of θ."""
        return self.layout.size

    @property
    def head(self) -> str:
        """Dotted name of the last layer with parameters, which gives the outputs."""
        return list(self.layout.slots())[-1].rpartition(".")[0]

    def forward(
        self, theta: Array, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        """Outputs for a batch in the network's own namespace and dtype."""
        params = self.layout.unflatten(theta)
        self._check_arrays(theta, state, x)
        return self.layer.forward(params, state, x, train=train, key=key)

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
        outputs, cache, state = self.layer.forward(params, state, x, train=True, key=key)
        loss, loss_cache = self.loss.forward(outputs, targets, weights)
        grads = self.layer.backward(params, cache, self.loss.backward(loss_cache), need_dx=False).grads
        gradient = self.layout.flatten(grads)
        if not isinstance(self.trainable, float):
            gradient = gradient * self.trainable
        return LossAndGradient(loss, gradient, outputs, state)

    def fit(
        self,
        x: Array | Dataset | Iterable[tuple[Array, ...]],
        y: Array | None = None,
        *,
        epochs: int | None = None,
        iterations: int | None = None,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        loss: Loss | None = None,
        validation: float | tuple[Array, Array] | None = None,
        sample_weight: Array | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        augmentation: Sequence[Augmentation] = (),
        normalize: bool | float = True,
        callbacks: Sequence[Callback] = (),
        early_stopping: EarlyStopping | None = None,
        clip_norm: float | None = None,
        report_every: int | None = None,
        seed: int = 0,
        progress: bool = True,
        runtime: Runtime | None = None,
    ) -> History:
        """Train on a data set, on arrays, or on an iterable of batches (x, y); going on if it is called again.

        ``x`` are vectors (N, F), images (N, H, W, C) or (N, H, W), or whatever the first layer takes, as arrays of
        NumPy, CuPy, PyTorch or JAX. ``y`` are class numbers or names (N,), real numbers (N,) or (N, K), or 0/1 (N, K).
        Of a data set, the training part is learned and the validation part validated on.

        ``optimizer`` is Adam() by default. ``validation`` is a fraction or number of examples to set apart, or data
        (x, y). ``sample_weight`` (N,) weighs examples. The other settings are those of ``training.TrainConfig``;
        ``runtime`` says how to compute. ``progress`` shows a bar.

        An untrained network gets a ``Normalize`` in front, which takes mean and scale from the training data, so that it
        takes inputs as they come from then on (unless ``normalize`` is False).

        After Ctrl-C, or any other error, the network has the values of the last complete step.

        Raises InputError if data and network do not fit together, TrainingDivergedError if the loss becomes infinite.
        """
        from xpnet.training.fit import fit  # which needs networks

        settings = dict(locals())
        for name in ("self", "fit", "x", "y"):
            del settings[name]
        return fit(self, x, y, **settings)

    def evaluate(self, x: Array | Dataset, y: Array | None = None) -> AnyEvaluation:
        """Loss and metrics on arrays, or on the test part of a data set.

        Raises InputError if data and network do not fit together.
        """
        from xpnet.training.fit import evaluate

        return evaluate(self, x, y)

    def __call__(self, x: Array, *, batch_size: int = 256) -> Array:
        """Outputs for inputs of any supported library, as an array of that library: logits (N, classes) of a classifier.

        Inputs are given as in training (pixels from 0 to 255, say); the network normalises them itself.

        Raises InputError if the inputs do not have the network's input shape, or hold anything but real numbers.
        """
        return self._in_batches(x, batch_size, lambda batch: self.forward(self.theta, self.state, batch).y)

    def predict(self, x: Array, *, batch_size: int = 256) -> Array:
        """What the network takes targets to be: class numbers (N,), 0/1 (N, K), or real numbers (N,) or (N, K).

        ``class_names`` says what the numbers stand for. Raises InputError as calling the network does.
        """
        return self.loss.predictions(self(x, batch_size=batch_size))

    def predict_proba(self, x: Array, *, batch_size: int = 256) -> Array:
        """Probabilities of the classes, (N, classes), or of 1 for 0/1 targets.

        Raises InputError as calling the network does, and of a network for real targets, which has none.
        """
        return self.loss.probabilities(self(x, batch_size=batch_size))

    def features(self, x: Array, name: str, *, batch_size: int = 256) -> Array:
        """Output of the layer with a dotted name, such as ``conv1`` or ``layer1.0``; see ``layer_shapes`` for names.

        Raises InputError if there is no such layer.
        """
        pick("Network, layer", self.layer_shapes(), name)
        params = self.layout.unflatten(self.theta)

        def output(batch: Array) -> Array:
            return next(y for path, y in self.layer.trace(params, self.state, batch) if path == name)

        return self._in_batches(x, batch_size, output)

    @property
    def is_untrained(self) -> bool:
        """Whether the parameters are those that were drawn at first."""
        return self.theta is self._drawn

    @property
    def normalization(self) -> str | None:
        """The name of the ``Normalize`` that the network begins with; None if it begins otherwise."""
        name, first, _ = next(iter(self.layer.sublayers(self.input_shape)))
        return name if isinstance(first, Normalize) else None

    def set_normalization(self, mean: Any, scale: Any) -> None:
        """Let the first layer compute (x - mean) * scale, with a number for all channels or one for each.

        A network that does not begin with ``Normalize`` gets one. Raises InputError for another number of values, or
        values that are not finite.
        """
        values = {"mean": self._per_channel("mean", mean), "scale": self._per_channel("scale", scale)}
        if self.normalization is None:
            self.layer, self.as_built = _normalizing(self.layer), _normalizing(self.as_built)
            self.layout = replace(self.layout, tree={_NORMALIZE: {}, **self.layout.tree})
        self.state = {str(self.normalization): values, **{k: v for k, v in self.state.items() if k != self.normalization}}

    def parameters(self) -> dict[str, Array]:
        """The tensors in θ by dotted name, such as ``conv1.weight``."""
        return dict(walk(self.layout.unflatten(self.theta)))

    def mask(self, predicate: Callable[[str], bool]) -> Array:
        """A vector like θ: 1 in the tensors whose dotted name the predicate accepts, 0 in the others."""
        slots = self.layout.slots().items()
        return self._asarray(np.concatenate([np.full(s.stop - s.start, float(predicate(name))) for name, s in slots]))

    def freeze(self, *patterns: str) -> None:
        """Keep parameters as they are whose dotted name matches a pattern, such as ``conv*`` or ``layer1.*``.

        Their gradient is 0 from now on; an optimizer must also exclude them from weight decay (``trainable`` says which).
        A BatchNorm of which all parameters are frozen becomes ``BatchNorm(frozen=True)``, whose running statistics stay
        as they are too; with one of them still learning they follow the batches. ``save`` writes the layers as they
        were built. To be called before training begins: a compiled step does not see later calls.

        Raises InputError for a pattern that matches no parameter.
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

    def summary(self) -> str:
        """The layers as a plain text table."""
        return summary.summary(self)

    def save(self, path: str | os.PathLike[str], *, values: tuple[Array, State] | None = None) -> None:
        """Write layers, parameters, state, loss and names of classes to a safetensors file that ``load`` reads.

        ``values`` are θ and the state to write instead of the network's own.
        """
        weights.save(self, path, values or (self.theta, self.state))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "cpu",
        backend: str | None = None,
        loss: Loss | None = None,
    ) -> Network:
        """Read a network that ``save`` wrote, on any device. A ``loss`` that is given takes the place of the file's.

        Raises InputError if the file is not one, if a tensor is missing, has another shape than the layers say, or
        holds NaN or infinity, or if the network was trained on a loss that is not xpnet's and none is given.
        """
        return weights.load(cls, path, device=device, backend=backend, loss=loss)

    def load_weights(
        self,
        path: str | os.PathLike[str],
        *,
        replace_head: bool = False,
        torch_name: Callable[[str], str] = torch_name,
    ) -> None:
        """Take over parameters and state from a file of a network with the same layers, xpnet's or PyTorch's.

        Of PyTorch it may be a saved state_dict (needs PyTorch) or a ``.safetensors`` file; ``torch_name`` gives its name
        for one of our tensors, by default torchvision's. Normalize is left alone then: PyTorch's files say nothing
        about pixels. With ``replace_head`` the last layer with parameters keeps its own values, so that it may have
        other classes.

        Raises InputError if the file cannot be read, or, naming the tensor, if one is missing, left over, or has
        another shape than here.
        """
        weights.load_weights(self, path, replace_head=replace_head, torch_name=torch_name)

    def tensors(self, theta: Array | None = None, state: State | None = None) -> dict[str, Array]:
        """Parameters and state (the network's own, unless given) as tensors by dotted name, such as ``conv1.weight``."""
        theta, state = self.theta if theta is None else theta, self.state if state is None else state
        return {**dict(walk(self.layout.unflatten(theta))), **dict(walk(state))}

    def set_tensors(self, tensors: Mapping[str, Any]) -> None:
        """Replace all parameters and state by named arrays of any library, or lists of numbers.

        Raises InputError, naming the tensor, if one is missing, left over, has another shape or kind than here, or
        holds values that are not finite in the network's dtype: a network with one of them answers NaN to everything.
        """
        self.theta, self.state = self.from_tensors(tensors)

    def from_tensors(self, tensors: Mapping[str, Any], *, source: str = "Network") -> tuple[Array, State]:
        """Inverse of ``tensors``; raises what ``set_tensors`` does."""
        return weights.from_tensors(self, tensors, source)

    def move(self, backend: Backend) -> Network:
        """Move the network to where arrays of a backend are; returns the network."""
        self.backend, is_untrained = backend, self.is_untrained
        self.theta = self._asarray(self.theta)
        self.state = map_tree(self._asarray, self.state)
        if not isinstance(self.trainable, float):
            self.trainable = self._asarray(self.trainable)
        if is_untrained:
            self._drawn = self.theta
        self.optimizer_memory = None
        return self

    def _check_arrays(self, theta: Array, state: State, x: Array) -> None:
        """Refuse what is not like the network's own, by nothing that a trace would record."""
        self._check_batch(x)
        # Mixed precision gives both in float16.
        if theta.dtype != x.dtype and theta.dtype != self.theta.dtype:
            raise InputError(
                f"Network: expected θ to be {self.dtype} of {self.backend.name}, got {theta.dtype} of "
                f"{backends.namespace_name(theta)}. Convert θ."
            )
        if not _has_names_of(self.state, state):
            raise InputError(
                "Network: expected a state with the names of network.state, got another. Give one like it."
            )

    def _check_batch(self, x: Array) -> None:
        backends.check_array("Array", x)
        if tuple(x.shape[1:]) != self.input_shape or x.shape[0] == 0:
            raise InputError(
                f"Network: expected inputs {summary.shape_text(('N', *self.input_shape))}, got shape {tuple(x.shape)}. "
                "Give a batch of at least one example of this shape."
            )

    def _freeze_statistics(self) -> None:
        """Freeze the BatchNorms of which no parameter learns."""
        trainable = backends.to_numpy(self.trainable)
        learning = {name.rpartition(".")[0] for name, slot in self.layout.slots().items() if trainable[slot.start]}

        def settled(name: str, layer: Layer) -> Layer:
            is_whole = isinstance(layer, BatchNorm) and name not in learning
            return replace(layer, frozen=True) if is_whole else layer

        self.layer = map_leaves(settled, self.layer)

    def _asarray(self, array: Any) -> Array:
        return self.backend.asarray(array, self.dtype)

    def _per_channel(self, what: str, value: Any) -> Array:
        channels, value = self.input_shape[-1], np.asarray(value)
        if value.shape not in ((), (1,), (channels,)):
            raise InputError(
                f"Network: expected {what} to be one number or {channels}, got shape {value.shape}. "
                "Give one for each channel."
            )
        if not (np.issubdtype(value.dtype, np.number) and np.isfinite(value).all()):
            raise InputError(f"Network: expected {what} to be finite numbers, got {value}. Change {what}.")
        return self._asarray(np.full(channels, value))

    def _in_batches(self, x: Array, batch_size: int, function: Callable[[Array], Array]) -> Array:
        """Apply a function to inputs batch by batch; the result is an array of the inputs' own library."""
        home = backends.backend_of(x)
        x = with_channel(x, self.input_shape)
        self._check_batch(x)
        backends.check_real_numbers("Network, inputs", x)
        check_positive("Network", "batch_size", batch_size)
        count = x.shape[0]
        results = [
            home.asarray(function(self._asarray(x[start : min(start + batch_size, count), ...])))
            for start in range(0, count, batch_size)
        ]
        return results[0] if len(results) == 1 else home.xp.concat(results)


def with_channel(x: Array, input_shape: Shape) -> Array:
    """Images (N, H, W) as (N, H, W, 1), where the network takes one channel; other inputs as they are."""
    if len(input_shape) == 3 and input_shape[-1] == 1 and tuple(x.shape[1:]) == input_shape[:2]:
        return x[..., None]
    return x


def _listed(layers: Any) -> Any:
    return [layers] if isinstance(layers, Layer) else layers


def _normalizing(layer: Sequential) -> Sequential:
    return Sequential([(_NORMALIZE, Normalize()), *layer.layers])


def _checked_input_shape(input_shape: Any) -> Shape:
    if not isinstance(input_shape, list | tuple):
        raise InputError(
            f"Network: expected input_shape to be a tuple, got {input_shape!r}. Give one such as (28, 28, 1)."
        )
    return tuple(check_positive("Network", "each length of input_shape", n) for n in input_shape)


def _has_names_of(tree: State, other: Any) -> bool:
    return (
        isinstance(other, Mapping)
        and tree.keys() == other.keys()
        and all(_has_names_of(node, other[name]) for name, node in tree.items() if isinstance(node, Mapping))
    )
