"""A network: layers, the flat vector θ of all their parameters, and a loss."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Array, on_own_device
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.layers.base import Forward, Layer, State
from xpnet.layers.containers import map_leaves
from xpnet.layers.normalization import BatchNorm, Normalize
from xpnet.layout import Layout, map_tree, walk
from xpnet.losses import LOSSES, Loss, SoftmaxCrossEntropy
from xpnet.random import Stream, generator
from xpnet.serialization import from_config, read_tensors, to_config, write_tensors
from xpnet.shapes import Shape, check_positive
from xpnet.torch_weights import NEW_HEAD, from_torch, places, read_torch_tensors, torch_name

DTYPES = ("float32", "float64")


class LossAndGradient(NamedTuple):
    """Mean loss of a batch, its gradient with respect to θ, the logits, and the layers' new state."""

    loss: Array
    gradient: Array
    logits: Array
    state: State


class LayerInfo(NamedTuple):
    """One line of a network's summary."""

    name: str
    kind: str
    output_shape: Shape
    parameters: int


class Network:
    """Layers with values: parameters in one flat vector ``theta`` and, apart from it, the layers' ``state``.

    ``forward`` and ``loss_and_gradient`` are pure functions of the arrays they are given, so that a training step made
    of them can be compiled and repeated; ``predict`` and ``features`` use the network's own values.

    ``input_shape`` is that of one example, (H, W, C) for images. Initial values depend on ``seed`` only, not on the
    device or backend. ``trainable`` is 1, or after ``freeze`` a vector like θ with 0 for what stays as it is.

    Raises InputError if the layers do not fit the input shape or each other, naming the layer.
    """

    def __init__(
        self,
        layer: Layer,
        input_shape: Shape,
        *,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
        backend: str | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.layer = self._as_built = _checked_layer(layer)
        self.input_shape = _checked_input_shape(input_shape)
        self.loss: Loss = loss or SoftmaxCrossEntropy()
        self.dtype = _checked_dtype(dtype)
        self.backend = backends.resolve(device, backend)
        self.trainable: Array | float = 1.0
        self.init(seed)

    @on_own_device
    def init(self, seed: int) -> None:
        """Draw new parameters and set the state back to its start."""
        params, state, self.output_shape = self.layer.init(generator(seed, Stream.WEIGHTS), self.input_shape)
        self.layout = _checked_layout(params)
        self.theta = self._asarray(self.layout.flatten(params))
        self.state: State = map_tree(self._asarray, state)

    @property
    def parameter_count(self) -> int:
        """Number of values that training may change, frozen ones included: the length of θ."""
        return self.layout.size

    @property
    def head(self) -> str:
        """Dotted name of the last layer with parameters, which gives the logits."""
        return list(self.layout.slots())[-1].rpartition(".")[0]

    @on_own_device
    def forward(
        self, theta: Array, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        """Logits for a batch in the network's own namespace and dtype."""
        params = self.layout.unflatten(theta)
        self._check_arrays(theta, state, x)
        return self.layer.forward(params, state, x, train=train, key=key)

    @on_own_device
    def loss_and_gradient(
        self, theta: Array, state: State, x: Array, labels: Array, *, key: Array | None = None
    ) -> LossAndGradient:
        """Mean loss over a batch and its gradient with respect to θ, in training mode."""
        params = self.layout.unflatten(theta)
        self._check_arrays(theta, state, x)
        logits, cache, state = self.layer.forward(params, state, x, train=True, key=key)
        loss, loss_cache = self.loss.forward(logits, labels)
        grads = self.layer.backward(params, cache, self.loss.backward(loss_cache), need_dx=False).grads
        gradient = self.layout.flatten(grads)
        if not isinstance(self.trainable, float):
            gradient = gradient * self.trainable
        return LossAndGradient(loss, gradient, logits, state)

    @on_own_device
    def predict(self, images: Array, *, batch_size: int = 256) -> Array:
        """Logits (N, classes) for images (N, H, W, C) of any supported library, returned as arrays of that library.

        Pixels are given as the data set has them (such as uint8, 0 to 255); the network normalises them itself.

        Raises InputError if the images do not have the network's input shape, or hold anything but real numbers.
        """
        return self._in_batches(images, batch_size, lambda x: self.forward(self.theta, self.state, x).y)

    @on_own_device
    def features(self, images: Array, name: str, *, batch_size: int = 256) -> Array:
        """Output of the layer with a dotted name, such as ``conv1`` or ``layer1.0``, for images; see ``predict``.

        The name is one of ``layer_shapes``.

        Raises InputError if there is no such layer.
        """
        pick("Network, layer", self.layer_shapes(), name)
        params = self.layout.unflatten(self.theta)

        def output(x: Array) -> Array:
            return next(y for path, y in self.layer.trace(params, self.state, x) if path == name)

        return self._in_batches(images, batch_size, output)

    def set_normalization(self, mean: Any, scale: Any) -> None:
        """Let the first layer compute (x - mean) * scale, with a number for all channels or one for each.

        Raises InputError if the network does not begin with a Normalize layer, or there are not as many numbers.
        """
        name, first = next(((name, layer) for name, layer, _ in self.layer.sublayers(self.input_shape)), ("", None))
        if not isinstance(first, Normalize):
            raise InputError("Network: expected Normalize as the first layer, found none. Put a Normalize() there.")
        values = {"mean": self._per_channel("mean", mean), "scale": self._per_channel("scale", scale)}
        self.state = {**self.state, name: values}

    def parameters(self) -> dict[str, Array]:
        """The tensors in θ by dotted name, such as ``conv1.weight``."""
        return dict(walk(self.layout.unflatten(self.theta)))

    def mask(self, predicate: Callable[[str], bool]) -> Array:
        """A vector like θ: 1 in the tensors whose dotted name the predicate accepts, 0 in the others."""
        places = self.layout.slots().items()
        return self._asarray(np.concatenate([np.full(s.stop - s.start, float(predicate(name))) for name, s in places]))

    def freeze(self, *patterns: str) -> None:
        """Keep parameters as they are whose dotted name matches a pattern, such as ``conv*`` or ``layer1.*``.

        Their gradient is 0 from now on; an optimizer must also spare them weight decay (``trainable`` says which). A
        BatchNorm of which all parameters are frozen becomes ``BatchNorm(frozen=True)``, whose running statistics stay
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

    def layer_info(self) -> list[LayerInfo]:
        """Every layer that holds no others, with its output shape and number of parameters."""
        counts: Counter[str] = Counter()
        for name, slot in self.layout.slots().items():
            counts[name.rpartition(".")[0]] += slot.stop - slot.start
        return [
            LayerInfo(name, type(layer).__name__, layer.output_shape(shape), counts[name])
            for name, layer, shape in self.layer.leaves(self.input_shape)
        ]

    def summary(self) -> str:
        """The layers as a plain text table."""
        cells = [("layer", "kind", "output shape", "parameters")]
        cells += [(r.name, r.kind, shape_text(r.output_shape), f"{r.parameters:,}") for r in self.layer_info()]
        cells += [("total", "", "", f"{self.parameter_count:,}")]
        widths = [max(len(row[column]) for row in cells) for column in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells
        )

    def save(self, path: str | os.PathLike[str], *, values: tuple[Array, State] | None = None) -> None:
        """Write layers, parameters, state and loss to a safetensors file that ``Network.load`` reads.

        ``values`` are θ and the state to write instead of the network's own. A loss that is not one of xpnet's is left
        out.
        """
        named = self.tensors(*(values or (self.theta, self.state)))
        tensors = {name: backends.to_numpy(tensor) for name, tensor in named.items()}
        header = {"layer": to_config(self._as_built), "input_shape": list(self.input_shape), "dtype": self.dtype}
        if type(self.loss) in LOSSES.values():
            header["loss"] = to_config(self.loss)
        write_tensors(path, tensors, header)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "cpu",
        backend: str | None = None,
        loss: Loss | None = None,
    ) -> Network:
        """Read a network that ``save`` wrote, on any device.

        No memory is taken for layers whose tensors the file does not hold. A ``loss`` that is given takes the place of
        the file's; a file without one has the default.

        Raises InputError if the file is not one, or a tensor is missing, has another shape than the layers say, or
        holds NaN or infinity. (``serialization.read_tensors`` reads such a file, to look into it.)
        """
        tensors, header = read_tensors(path)
        source = f"Weights file {path}"
        try:
            layer, input_shape = from_config(header["layer"]), header["input_shape"]
            dtype, shapes = _checked_dtype(header["dtype"]), _tensor_shapes(layer, input_shape)
            loss = loss or (_checked_loss(header["loss"]) if "loss" in header else None)
        except KeyError as error:
            raise InputError(f"{source}: its header lacks {error}. Get a new copy.") from error
        except Exception as error:  # settings of another type or size lead to many kinds
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise InputError(f"{source}: its header describes no network ({reason}). Get a new copy.") from error
        _check_tensors(shapes, tensors, dtype, source)
        network = cls(layer, input_shape, dtype=dtype, device=device, backend=backend, loss=loss)
        network.set_tensors(tensors, source=source)
        return network

    def load_tensors(self, path: str | os.PathLike[str], *, replace_head: bool = False) -> None:
        """Take over parameters and state from a file that ``save`` wrote, of a network with the same layers.

        With ``replace_head`` the last layer with parameters keeps its own values, so that it may have other classes.

        Raises InputError as ``load`` does.
        """
        tensors, _ = read_tensors(path)
        if replace_head:
            own = {name: backends.to_numpy(t) for name, t in self._tensors().items() if self._is_of_head(name)}
            tensors = {name: tensor for name, tensor in tensors.items() if not self._is_of_head(name)} | own
        self.set_tensors(tensors, source=f"Weights file {path}")

    def load_torch(
        self,
        path: str | os.PathLike[str],
        *,
        replace_head: bool = False,
        torch_name: Callable[[str], str] = torch_name,
    ) -> None:
        """Take over the weights of a PyTorch model from a saved state_dict (needs PyTorch) or a ``.safetensors`` file.

        ``torch_name`` gives PyTorch's name for one of ours; the default knows torchvision's. With ``replace_head`` the
        last layer with parameters keeps its own values, whatever the file's are, so that it may have other classes.

        Pixels are not the file's business: for torchvision's ImageNet models call ``set_normalization`` with
        ``models.imagenet.PIXEL_MEAN`` and ``PIXEL_SCALE``.

        Raises InputError if the file cannot be read, or, naming the tensor, if one is missing, left over, or has
        another shape than here.
        """
        ours = {name: backends.to_numpy(tensor) for name, tensor in self._tensors().items()}
        shapes = {name: tensor.shape for name, tensor in ours.items()}
        source = f"Weights file {path}"
        theirs = from_torch(
            read_torch_tensors(path),
            places(self.layer.leaves(self.input_shape), shapes, torch_name),
            head=self.head,
            replace_head=replace_head,
            source=source,
        )
        self.set_tensors({**ours, **theirs}, source=source)

    def set_tensors(self, tensors: Mapping[str, Any], *, source: str = "Network") -> None:
        """Replace all parameters and state by named arrays.

        Raises InputError, naming the tensor, if one is missing, left over, has another shape or kind than here, or
        holds values that are not finite in the network's dtype: a network with one of them answers NaN to everything.
        """
        self.theta, self.state = self.from_tensors(tensors, source=source)

    def tensors(self, theta: Array, state: State) -> dict[str, Array]:
        """Values of θ and the layers' state as tensors by dotted name, such as ``conv1.weight``."""
        return {**dict(walk(self.layout.unflatten(theta))), **dict(walk(state))}

    def from_tensors(self, tensors: Mapping[str, Any], *, source: str = "Network") -> tuple[Array, State]:
        """Inverse of ``tensors``, with host arrays; raises what ``set_tensors`` does."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors().items()}
        _check_tensors(shapes, tensors, self.dtype, source, self._is_of_head)
        _check_finite(tensors, self.dtype, source)
        params = [np.reshape(tensors[name], -1) for name in self.layout.slots()]
        theta = self._asarray(np.concatenate(params))
        return theta, _rebuild(self.state, "", lambda name: self._asarray(tensors[name]))

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
                f"Network: expected images {shape_text(('N', *self.input_shape))}, got shape {tuple(x.shape)}. "
                "Give a batch of at least one image of this size."
            )

    def _freeze_statistics(self) -> None:
        """Freeze the BatchNorms of which no parameter learns."""
        trainable = backends.to_numpy(self.trainable)
        learning = {name.rpartition(".")[0] for name, slot in self.layout.slots().items() if trainable[slot.start]}

        def settled(name: str, layer: Layer) -> Layer:
            is_whole = isinstance(layer, BatchNorm) and name not in learning
            return replace(layer, frozen=True) if is_whole else layer

        self.layer = map_leaves(settled, self.layer)

    def _is_of_head(self, tensor: str) -> bool:
        return tensor.rpartition(".")[0] == self.head

    def _tensors(self) -> dict[str, Array]:
        return self.tensors(self.theta, self.state)

    def _asarray(self, array: Any) -> Array:
        return self.backend.asarray(array, self.dtype)

    def _per_channel(self, what: str, value: Any) -> Array:
        channels, value = self.input_shape[-1], np.asarray(value)
        if value.shape not in ((), (1,), (channels,)):
            raise InputError(
                f"Network: expected {what} to be one number or {channels}, got shape {value.shape}. "
                "Give one for each channel."
            )
        return self._asarray(np.full(channels, value))

    def _in_batches(self, images: Array, batch_size: int, function: Any) -> Array:
        """Apply a function to images batch by batch; the result is an array of the images' own library."""
        home = backends.backend_of(images)
        self._check_batch(images)
        backends.check_real_numbers("Network, images", images)
        check_positive("Network", "batch_size", batch_size)
        count = images.shape[0]
        results = [
            home.asarray(function(self._asarray(images[start : min(start + batch_size, count), ...])))
            for start in range(0, count, batch_size)
        ]
        return results[0] if len(results) == 1 else home.xp.concat(results)


def shape_text(shape: tuple[Any, ...]) -> str:
    """A shape as people write it: 28 x 28 x 16."""
    return " x ".join(map(str, shape))


def _checked_layer(layer: Any) -> Layer:
    if not isinstance(layer, Layer):
        raise InputError(
            f"Network: expected a layer, got {type(layer).__name__}. Put layers into one: Sequential([...])."
        )
    return layer


def _checked_dtype(dtype: Any) -> str:
    if dtype not in DTYPES:
        raise InputError(f"Network: expected dtype {' or '.join(DTYPES)}, got {dtype!r}. Choose one of these.")
    return dtype


def _checked_loss(config: Any) -> Loss:
    loss = from_config(config)
    if type(loss) not in LOSSES.values():
        raise InputError(f"Network: expected a loss, got {type(loss).__name__}. Give one of xpnet's.")
    return loss


def _checked_layout(params: Mapping[str, Any]) -> Layout:
    layout = Layout.of(params)
    if layout.size == 0:
        raise InputError("Network: expected layers with parameters, got none. Add a Dense or Conv2D layer.")
    return layout


def _checked_input_shape(input_shape: Any) -> Shape:
    if not isinstance(input_shape, list | tuple):
        raise InputError(
            f"Network: expected input_shape to be a tuple, got {input_shape!r}. Give one such as (28, 28, 1)."
        )
    return tuple(check_positive("Network", "each length of input_shape", n) for n in input_shape)


class _Undrawn(np.random.Generator):
    """Draws nothing: zeros that take no memory."""

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, size)


def _tensor_shapes(layer: Layer, input_shape: Any) -> dict[str, Shape]:
    """Shapes of the parameters and state that layers would have, by dotted name."""
    params, state, _ = layer.init(_Undrawn(np.random.PCG64(0)), _checked_input_shape(input_shape))
    _checked_layout(params)
    return {name: tensor.shape for name, tensor in [*walk(params), *walk(state)]}


def _check_tensors(
    shapes: Mapping[str, Shape],
    tensors: Mapping[str, Any],
    dtype: str,
    source: str,
    may_be_new: Callable[[str], bool] = lambda name: False,
) -> None:
    """Refuse tensors, naming the first, whose names, shapes or kinds are not those of the network."""
    for name in [*shapes, *tensors]:
        shape, there = shapes.get(name), tensors.get(name)
        if shape is None or there is None:
            holder, other = ("file", "network") if shape is None else ("network", "file")
            raise InputError(f"{source}: {name!r} is in the {holder} but not in the {other}. Use the same layers.")
        if shape != tuple(there.shape) or not np.issubdtype(there.dtype, np.floating):
            raise InputError(
                f"{source}: {name!r} is {there.dtype} {tuple(there.shape)} in the file and {dtype} {shape} in the "
                "network. " + (NEW_HEAD if may_be_new(name) else "Use the same layers.")
            )


def _check_finite(tensors: Mapping[str, Any], dtype: str, source: str) -> None:
    for name, tensor in tensors.items():
        with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinite
            if not np.isfinite(np.asarray(tensor).astype(dtype)).all():
                raise InputError(
                    f"{source}: expected finite {dtype} values in {name!r}, got NaN or infinity. "
                    "Use weights from before the run diverged."
                )


def _has_names_of(tree: State, other: Any) -> bool:
    return (
        isinstance(other, Mapping)
        and tree.keys() == other.keys()
        and all(_has_names_of(node, other[name]) for name, node in tree.items() if isinstance(node, Mapping))
    )


def _rebuild(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    return {
        name: _rebuild(node, f"{path}{name}.", value) if isinstance(node, Mapping) else value(f"{path}{name}")
        for name, node in tree.items()
    }
