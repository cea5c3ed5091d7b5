"""Networks as files: settings as JSON, arrays by name in safetensors. Reading one never runs code from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import InputError
from xpnet.files import atomic_write, require_readable
from xpnet.initializers import Normal, VarianceScaling
from xpnet.layers.base import Layer
from xpnet.losses import LOSSES
from xpnet.shapes import is_whole

FORMAT_VERSION = 1
LARGEST = (1 << 30) - 1  # of two layers with so many units, NumPy can still count the bytes of the weights between
_METADATA_KEY, _DIGEST_KEY = "xpnet", "sha256"
_LONGEST_HEADER = 4 << 20  # in bytes; that of a resnet152 has 0.2 million


def to_config(value: Any) -> Any:
    """Settings (a layer, a loss, a run, or what their fields hold) as values that JSON can write."""
    if is_whole(value):
        return int(value)  # NumPy's too
    if isinstance(value, np.floating):
        return float(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_config(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [to_config(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):  # as JSON has no other names
            return [[to_config(name), to_config(item)] for name, item in value.items()]
        return {name: to_config(item) for name, item in value.items()}
    return value


def from_config(config: Any, others: Iterable[type] = ()) -> Any:
    """Inverse of ``to_config`` for layers, initializers, losses and ``others``; lists become tuples.

    Raises InputError for an unknown type or settings that it does not have.
    """
    known = (Normal, VarianceScaling, *LOSSES.values(), *others)
    return _from_config(config, {**{kind.__name__: kind for kind in known}, **Layer.kinds()})


def _from_config(config: Any, kinds: Mapping[str, Any]) -> Any:
    if isinstance(config, list):
        return tuple(_from_config(item, kinds) for item in config)
    if not isinstance(config, dict):
        return config
    settings = {name: _from_config(value, kinds) for name, value in config.items() if name != "type"}
    if "type" not in config:
        return settings
    kind = config["type"]
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(
            f"Configuration: expected a known type of layer, loss or setting, got {kind!r}. "
            "Import the module that defines it first."
        )
    try:
        return kinds[kind](**settings)
    except TypeError as error:
        raise InputError(f"Configuration: {kind} does not take these settings ({error}). Check its fields.") from error


def check_reasonable(config: Any) -> None:
    """Raise InputError for an integer above LARGEST: layers lay out their weights before the file's are looked at."""
    for inner in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        check_reasonable(inner)
    if isinstance(config, int) and config > LARGEST:
        raise InputError(f"Configuration: expected integers of at most {LARGEST}, got {config}. Get a new copy.")


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    header: Mapping[str, Any],
    *,
    what: str = "Weights file",
) -> None:
    """Write named arrays and a JSON header to a safetensors file, whole or not at all, with the SHA-256 of both.

    Raises InputError, with ``what`` the file is, if it cannot be written, or could not be read again.
    """
    from safetensors.numpy import save  # here: xpnet's import stays as quick as NumPy's

    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what} {path!r}: expected a path, got {type(path).__name__}. Pass the path of a file.")
    contiguous = {
        name: np.asarray(tensor, tensor.dtype.newbyteorder("="), order="C") for name, tensor in tensors.items()
    }
    header = {"format": FORMAT_VERSION, **header}
    header[_DIGEST_KEY] = _digest(header, contiguous)
    content = save(contiguous, {_METADATA_KEY: json.dumps(header)})  # two entries would be in any order
    length = int.from_bytes(content[:8], "little")
    if length > _LONGEST_HEADER:
        raise InputError(
            f"{what} {path}: expected settings and names of at most {_LONGEST_HEADER:,} bytes, got {length:,}. "
            "Use fewer or shorter ones."
        )
    atomic_write(Path(path), content, what=what)


def is_written_by_xpnet(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the header that ``write_tensors`` gives it.

    Raises InputError if there is no such file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    require_readable(path, "Weights file", "a .pth or .safetensors file")
    check_header(path, "Weights file")
    try:
        with safe_open(path, framework="numpy") as file:
            return _METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def check_header(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a safetensors file with a header longer than any network's, whose parsing takes 27 times its size."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _LONGEST_HEADER < length <= os.path.getsize(path):
        raise InputError(
            f"{what} {path}: expected a header of at most {_LONGEST_HEADER:,} bytes, got {length:,}. Get a new copy."
        )


def read_tensors(
    path: str | os.PathLike[str], *, what: str = "Weights file"
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what ``write_tensors`` wrote; a file without a SHA-256, from before there was one, is taken as it is.

    Raises InputError if there is no such file, it is not one of xpnet's, or it is no longer what was written.
    """
    from safetensors import safe_open

    require_readable(path, what, "a .safetensors file")
    check_header(path, what)
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            header = json.loads((file.metadata() or {}).get(_METADATA_KEY, "null"))
        written = header.pop(_DIGEST_KEY, None) if isinstance(header, dict) else None
        is_intact = written is None or written == _digest(header, tensors)
    except Exception as error:  # damaged bytes lead to many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} {path}: not a readable safetensors file ({reason}). Get a new copy.") from error
    if not isinstance(header, dict):
        raise InputError(f"{what} {path}: has no xpnet header. Only files written by xpnet describe a network.")
    if header.get("format") != FORMAT_VERSION:
        raise InputError(
            f"{what} {path}: expected format {FORMAT_VERSION}, got {header.get('format')!r}. "
            "Use the xpnet version that wrote it."
        )
    if not is_intact:
        raise InputError(
            f"{what} {path}: damaged or changed since it was written (its SHA-256 is another). Get a new copy."
        )
    return tensors, header


def _digest(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a header and of every tensor with its name, dtype and shape."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype.name, tensor.shape)).encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
