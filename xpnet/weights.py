"""A network's values in and out: to files and from them, by the names of its tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.layers.base import State
from xpnet.layers.containers import Sequential
from xpnet.layout import Layout, walk
from xpnet.losses import LOSSES, Loss
from xpnet.random import Stream, generator
from xpnet.runtime import DTYPES
from xpnet.serialization import (
    check_reasonable,
    from_config,
    is_written_by_xpnet,
    read_tensors,
    to_config,
    write_tensors,
)
from xpnet.shapes import Shape
from xpnet.torch_weights import NEW_HEAD, from_torch, read_torch_tensors, torch_tensors

if TYPE_CHECKING:
    from xpnet.function import LayeredFunction
    from xpnet.network import Network

# Of the layers' settings. Version 1 had `kernel` for `kernel_size`; files of it, and of 0.2.0, do not say theirs.
FORMAT_VERSION = 2


def save(network: Network, path: str | os.PathLike[str], values: tuple[Array, State]) -> None:
    """Write layers, parameters, state, loss and names of classes to a safetensors file."""
    tensors = {name: backends.to_numpy(tensor) for name, tensor in network.tensors(*values).items()}
    header: dict[str, Any] = {
        "network": FORMAT_VERSION,
        "layer": to_config(network.as_built),
        "input_shape": list(network.input_shape),
        "dtype": network.dtype,
        "loss": to_config(network.loss) if type(network.loss) in LOSSES.values() else type(network.loss).__name__,
    }
    if network.class_names is not None:
        header["class_names"] = list(network.class_names)
    write_tensors(path, tensors, header)


def load(
    cls: type[Network], path: str | os.PathLike[str], *, device: str, backend: str | None, loss: Loss | None
) -> Network:
    """Read a network that ``save`` wrote; no memory is taken for layers whose tensors the file does not hold."""
    tensors, header = read_tensors(path)
    source = f"Weights file {path}"
    if header.get("network", FORMAT_VERSION) != FORMAT_VERSION:
        raise _other_version(source, header["network"], "Use the xpnet version that wrote it.")
    own_loss = header.get("loss")
    if loss is None and isinstance(own_loss, str):
        raise InputError(
            f"{source}: expected a loss of xpnet, got the network's own {own_loss!r}. "
            "Pass it: Network.load(path, loss=...)."
        )
    try:
        check_reasonable(header["layer"])
        layer, input_shape, dtype = from_config(header["layer"]), header["input_shape"], header["dtype"]
        if not isinstance(layer, Sequential):
            raise InputError(f"expected layers, got {type(layer).__name__}")
        shapes = tensor_shapes(layer, input_shape)
        loss = loss or (_checked_loss(own_loss) if own_loss is not None else None)
        class_names = header.get("class_names")
        if dtype not in DTYPES:
            raise InputError(f"expected dtype {' or '.join(DTYPES)}, got {dtype!r}")
        if class_names is not None and not all(isinstance(name, str) and name.isprintable() for name in class_names):
            raise InputError("expected printable names of classes")
    except KeyError as error:
        raise InputError(f"{source}: its header lacks {error}. Get a new copy.") from error
    except Exception as error:  # settings of another type or size lead to many kinds
        if isinstance(error.__cause__, TypeError) and "network" not in header:  # settings that a layer does not have
            advice = "Load it with the xpnet before 0.2.0 that wrote it, or make its layers here and call load_tensors."
            raise _other_version(source, 1, advice) from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{source}: its header does not describe a network ({reason}). Get a new copy.") from error
    check_tensors(shapes, tensors, dtype, source)
    network = cls(layer, input_shape, seed=None, dtype=dtype, device=device, backend=backend, loss=loss)
    network.class_names = None if class_names is None else tuple(class_names)
    network.theta, network.state = from_tensors(network, tensors, source)
    return network


def _other_version(source: str, version: Any, advice: str) -> InputError:
    return InputError(f"{source}: expected a network of format version {FORMAT_VERSION}, got {version!r}. {advice}")


def load_tensors(
    network: Network, path: str | os.PathLike[str], *, replace_head: bool, torch_name: Callable[[str], str]
) -> None:
    """Take over parameters and state from a file of xpnet's, PyTorch's or ONNX's."""
    source = f"Weights file {path}"
    ours = {name: backends.to_numpy(tensor) for name, tensor in network.tensors().items()}
    if is_onnx(path):
        theirs = {**ours, **_by_order(network, type(network).from_onnx(path), source, replace_head)}
    elif is_written_by_xpnet(path):
        theirs, _ = read_tensors(path)
        if replace_head:
            theirs = {name: tensor for name, tensor in theirs.items() if not _is_of_head(network, name)}
            theirs |= {name: tensor for name, tensor in ours.items() if _is_of_head(network, name)}
    else:
        leaves = network.layer.leaves(network.input_shape)
        names = torch_tensors(leaves, {name: tensor.shape for name, tensor in ours.items()}, torch_name)
        tensors = read_torch_tensors(path)
        theirs = {
            **ours,
            **from_torch(tensors, names, head=network.head, replace_head=replace_head, source=source),
        }
    network.theta, network.state = from_tensors(network, theirs, source)


def is_onnx(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an ONNX model by its name."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).endswith(".onnx")


def _by_order(network: Network, other: Network, source: str, replace_head: bool) -> dict[str, np.ndarray]:
    """The other's tensors by this network's names: the layers must be the same ones in the same order.

    The pixels' normalisation is taken over where both have one.
    """
    head = network.head if replace_head else None
    ours, theirs = ([leaf for leaf in _leaves(net) if leaf[1]] for net in (network, other))
    if (network.normalization is None) != (other.normalization is None):
        ours, theirs = ([leaf for leaf in leaves if leaf[1].keys() != {"mean", "scale"}] for leaves in (ours, theirs))
    if len(ours) != len(theirs):
        raise InputError(
            f"{source}: expected as many layers with tensors as the network's {len(ours)}, got {len(theirs)}. "
            "Use the same layers, or Network.from_onnx."
        )
    tensors = {}
    for (name, own), (_, found) in zip(ours, theirs, strict=True):
        if name == head:
            continue
        if {key: tensor.shape for key, tensor in own.items()} != {key: tensor.shape for key, tensor in found.items()}:
            shapes = {key: tuple(tensor.shape) for key, tensor in found.items()}
            raise InputError(f"{source}: the layer in place of {name!r} has {shapes}. Use the same layers.")
        tensors |= {f"{name}.{key}": backends.to_numpy(tensor) for key, tensor in found.items()}
    return tensors


def _leaves(network: LayeredFunction) -> list[tuple[str, dict[str, Array]]]:
    """Layers that hold no others, in order, with their tensors by the layer's own names."""
    tensors = network.tensors()
    return [
        (name, {key.rpartition(".")[2]: tensor for key, tensor in tensors.items() if key.rpartition(".")[0] == name})
        for name, _, _ in network.layer.leaves(network.input_shape)
    ]


def from_tensors(network: LayeredFunction, tensors: Mapping[str, Any], source: str) -> tuple[Array, State]:
    """θ and state from arrays by name, of any library."""
    arrays = {name: _host_array(name, tensor, source) for name, tensor in tensors.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.tensors().items()}
    check_tensors(shapes, arrays, network.dtype, source, lambda name: _is_of_head(network, name))
    _check_finite(arrays, network.dtype, source)
    theta = np.concatenate([np.reshape(arrays[name], -1) for name in network.layout.slots()])
    asarray = network.backend.asarray
    return asarray(theta, network.dtype), _rebuild(network.state, "", lambda name: asarray(arrays[name], network.dtype))


def tensor_shapes(layer: Any, input_shape: Any) -> dict[str, Shape]:
    """Shapes of the parameters and state that layers would have, by dotted name, without drawing any."""
    params, state, _ = layer.init(Undrawn(), tuple(input_shape))
    checked_layout(params)
    return {name: tensor.shape for name, tensor in [*walk(params), *walk(state)]}


def checked_layout(params: Mapping[str, Any]) -> Layout:
    """The layout of layers that have parameters at all."""
    layout = Layout.of(params)
    if layout.size == 0:
        raise InputError("Network: expected layers with parameters, got none. Add a Dense or Conv2D layer.")
    return layout


def check_tensors(
    shapes: Mapping[str, Shape],
    tensors: Mapping[str, Any],
    dtype: str,
    source: str,
    may_be_new: Callable[[str], bool] = lambda name: False,
) -> None:
    """Raise InputError, naming the first tensor whose name, shape or kind is not that of the network's."""
    holder = "file" if source.startswith("Weights") else "given tensors"
    for name in [*shapes, *tensors]:
        shape, there = shapes.get(name), tensors.get(name)
        if shape is None or there is None:
            where, other = (holder, "network") if shape is None else ("network", holder)
            raise InputError(f"{source}: {name!r} is in the {where} but not in the {other}. Use the same layers.")
        if not np.issubdtype(there.dtype, np.floating):
            raise InputError(
                f"{source}: expected {name!r} to hold {dtype} numbers, got {there.dtype}. Convert it to {dtype}."
            )
        if shape != tuple(there.shape):
            raise InputError(
                f"{source}: {name!r} is {tuple(there.shape)} in the {holder} and {shape} in the network. "
                + (NEW_HEAD if holder == "file" and may_be_new(name) else "Use the same layers.")
            )


def check_gradients(layout: Layout, grads: Any) -> None:
    """Raise InputError, naming the first gradient that does not fit its layer's parameter."""
    given = dict(walk(grads))
    for name, slot in layout.slots().items():
        layer, _, parameter = name.rpartition(".")
        found = getattr(given.get(name), "shape", None)
        if found != slot.shape:
            raise InputError(
                f"Layer '{layer}': expected backward to give a gradient of {parameter!r} of shape {slot.shape}, got "
                f"{'none' if found is None else f'shape {tuple(found)}'}. Correct its backward."
            )


def initial_generator(seed: int | None) -> np.random.Generator:
    """What draws a network's first parameters: zeros for None, where they come from a file."""
    return Undrawn() if seed is None else generator(seed, Stream.WEIGHTS)


class Undrawn(np.random.Generator):
    """Draws nothing: zeros that take no memory."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, size)


def _host_array(name: str, tensor: Any, source: str) -> np.ndarray:
    try:
        return backends.to_numpy(tensor)
    except InputError:
        array = np.asarray(tensor)  # lists of numbers
        if array.dtype == object:
            raise InputError(
                f"{source}: expected {name!r} to be an array, got {type(tensor).__name__}. Convert it."
            ) from None
        return array


def _is_of_head(network: LayeredFunction, tensor: str) -> bool:
    return tensor.rpartition(".")[0] == network.head


def _checked_loss(config: Any) -> Loss:
    loss = from_config(config)
    if type(loss) not in LOSSES.values():
        raise InputError(f"expected a loss, got {type(loss).__name__}")
    return loss


def _check_finite(tensors: Mapping[str, Any], dtype: str, source: str) -> None:
    for name, tensor in tensors.items():
        with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinite
            if not np.isfinite(np.asarray(tensor).astype(dtype)).all():
                raise InputError(
                    f"{source}: expected finite {dtype} values in {name!r}, got NaN or infinity. "
                    "Use weights from before the run diverged."
                )


def _rebuild(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    return {
        name: _rebuild(node, f"{path}{name}.", value) if isinstance(node, Mapping) else value(f"{path}{name}")
        for name, node in tree.items()
    }
