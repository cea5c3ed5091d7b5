"""Weights of PyTorch's models: reading their files, and from PyTorch's names and layouts of tensors to ours."""

from __future__ import annotations

import math
import mmap
import os
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.checks import import_library
from xpnet.errors import InputError
from xpnet.files import require_readable
from xpnet.layers import Dense, Flatten, Normalize
from xpnet.layers.base import Part
from xpnet.serialization import check_header
from xpnet.shapes import Shape

Tensors = Mapping[str, np.ndarray]

_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 4  # before the values, in files older than PyTorch 1.6: magic number, version, machine, state_dict
_ADMITTED = re.compile(r"collections OrderedDict|torch \w+Storage|torch\._utils _rebuild_(tensor(_v2)?|parameter)")
_OTHER_NAMES = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")  # ways to name things that PyTorch's files do not use

NEW_HEAD = "Use replace_head=True to start with a new one."
# Parts of our names that torchvision's and timm's lack or call something else: containers that they have no module for.
_TORCH_PARTS = {
    **dict.fromkeys(("residual", "residual1", "residual2", "branch", "branches"), ""),
    "shortcut": "downsample",
}
_PARAMETERS = ("cls_token", "pos_embed")  # layers of ours, there parameters without a module and with a batch of 1
# What files hold beside our tensors: numbers of batches, and GoogLeNet's classifiers for training alone.
_LEFT_OUT = re.compile(r".*\.num_batches_tracked|aux[12]\..*")
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


def torch_name(name: str) -> str:
    """The name that torchvision, or timm, has for one of our tensors: ours, less what sums and branches add to it.

    >>> torch_name("layer1.0.residual.branch.conv1.weight"), torch_name("layer1.0.residual.shortcut.0.weight")
    ('layer1.0.conv1.weight', 'layer1.0.downsample.0.weight')
    """
    parts = [_TORCH_PARTS.get(part, part) for part in name.split(".")]
    if parts[0] in _PARAMETERS:
        parts.pop()
    return ".".join(part for part in parts if part)


class TorchTensor(NamedTuple):
    """Where PyTorch keeps one of our tensors, and what its last axis counts if not channels or features.

    ``input_shape`` (H, W, C) is that of images whose values a Flatten put into one row: in the order (H, W, C) here,
    (C, H, W) in PyTorch. ``own_shape`` is the tensor's shape here, where PyTorch has only axes of length 1 in front.
    """

    layer: str
    name: str
    shape: Shape
    input_shape: Shape | None = None
    own_shape: Shape | None = None

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """PyTorch's tensor in our layout, which has the channels last."""
        if self.own_shape is not None:
            return tensor.reshape(self.own_shape)
        if tensor.ndim > 2:
            return np.moveaxis(tensor, 1, -1)
        if self.input_shape is None:
            return tensor
        height, width, channels = self.input_shape
        images = tensor.reshape(*tensor.shape[:-1], channels, height, width)
        return np.moveaxis(images, -3, -1).reshape(tensor.shape)

    def to_torch(self, tensor: np.ndarray) -> np.ndarray:
        """Inverse of ``to_ours``."""
        if self.own_shape is not None:
            return tensor.reshape(self.shape)
        if tensor.ndim > 2:
            return np.moveaxis(tensor, -1, 1)
        if self.input_shape is None:
            return tensor
        images = tensor.reshape(*tensor.shape[:-1], *self.input_shape)
        return np.moveaxis(images, -1, -3).reshape(tensor.shape)


def torch_tensors(
    leaves: Iterable[Part], shapes: Mapping[str, Shape], rename: Callable[[str], str]
) -> dict[str, TorchTensor]:
    """The place of each of a network's tensors, from its layers, its tensors' shapes, and their names in PyTorch.

    The state of ``Normalize`` has none: PyTorch's models leave pixels to others.
    """
    layers, image_shapes, input_shape = {}, {}, None
    for leaf in leaves:
        layers[leaf.name], image_shapes[leaf.name] = leaf.layer, input_shape
        if isinstance(leaf.layer, Flatten):
            input_shape = leaf.input_shape if len(leaf.input_shape) == 3 else None
        elif isinstance(leaf.layer, Dense):
            input_shape = None
    found = {}
    for name, shape in shapes.items():
        path, _, tensor = name.rpartition(".")
        layer, input_shape = layers[path], image_shapes[path]
        if isinstance(layer, Normalize):
            continue
        if isinstance(layer, Dense) and tensor == "bias":
            input_shape = None  # it counts units
        if path in _PARAMETERS:
            found[name] = TorchTensor(path, rename(name), (1,) * (3 - len(shape)) + shape, own_shape=shape)
            continue
        torch_shape = (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 2 else shape
        found[name] = TorchTensor(path, rename(name), torch_shape, input_shape)
    return found


def from_torch(
    tensors: Tensors, places: Mapping[str, TorchTensor], *, head: str, replace_head: bool, source: str
) -> Tensors:
    """PyTorch's tensors by our names and in our layouts, with ``replace_head`` all but those of the layer ``head``.

    Raises InputError, naming the tensor, if one is missing, left over, or has another shape than the network's.
    """
    tensors = {_OLD_DENSENET.sub(r"\1", name): tensor for name, tensor in tensors.items()}
    known = {place.name for place in places.values()}
    for name in tensors:
        if name not in known and not _LEFT_OUT.fullmatch(name):
            raise InputError(f"{source}: {name!r} is in the file but not in the network. Use the same layers.")
    taken = {name: place for name, place in places.items() if not (replace_head and place.layer == head)}
    for name, place in taken.items():
        if place.name not in tensors:
            raise InputError(
                f"{source}: {place.name!r}, for {name!r} of the network, is not in the file. Use the same layers."
            )
        theirs, advice = tensors[place.name].shape, "Use the same layers."
        if place.layer == head:
            advice = NEW_HEAD
        if theirs != place.shape and not _is_convolution_of_all(theirs, place.shape):
            raise InputError(
                f"{source}: {place.name!r} is {theirs} in the file and {place.shape} in the network. {advice}"
            )
    return {name: place.to_ours(tensors[place.name].reshape(place.shape)) for name, place in taken.items()}


def _is_convolution_of_all(theirs: Shape, shape: Shape) -> bool:
    """Whether a weight is that of a convolution of whole images, which is a dense layer on their values (C, H, W)."""
    return len(theirs) == 4 and len(shape) == 2 and (theirs[0], math.prod(theirs[1:])) == shape


def read_torch_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a ``.safetensors`` file or, given PyTorch, of a saved state_dict; no code of the file is run.

    Raises InputError if there is no such file, it holds something else, or PyTorch is needed and missing.
    """
    require_readable(path, "Weights file", "a .pth or .safetensors file")
    read = _read_safetensors if Path(path).suffix == ".safetensors" else _read_state_dict
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"Weights file {path}: expected a state_dict of tensors, got something else ({reason}). "
            "Save model.state_dict() alone."
        ) from error


def _read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file  # here: xpnet's import stays as quick as NumPy's

    check_header(path, "Weights file")
    return load_file(path)


def _read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    torch = import_library(
        "torch",
        f"Weights file {path}: PyTorch, which reads it, is not installed. "
        'Install it with: pip install "xpnet[torch]"; or give a .safetensors file.',
    )
    _check_pickles(path)
    state_dict = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in state_dict.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name!r} has more values than the file holds for it")
    return {name: tensor.detach().numpy() for name, tensor in state_dict.items()}


def _check_pickles(path: str | os.PathLike[str]) -> None:
    """Refuse a file that names more than a state_dict of tensors needs, or unpacks to more than its own size.

    PyTorch runs no code of a file, but it lets one call bytearray(10**11), or hold a terabyte of compressed zeros.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # where no read goes beyond the end
                for _ in range(_LEGACY_PICKLES):
                    _check_pickle(content)
            return
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > size:
                raise ValueError(f"its members announce more bytes than its own {size:,}")
            for member in members:
                if member.filename.endswith("data.pkl"):
                    with archive.open(member) as pickle:
                        _check_pickle(pickle)


def _check_pickle(file: Any) -> None:
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL" and not _ADMITTED.fullmatch(str(argument)):
            raise ValueError(f"it names {argument!r}")
        if operation.name in _OTHER_NAMES:
            raise ValueError(f"it names something by {operation.name}")
