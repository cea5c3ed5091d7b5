"""ONNX files read within bounds: sizes before parsing, opsets, tensors stored beside the file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import InputError
from xpnet.files import require_readable
from xpnet.onnx.library import load_onnx

LARGEST_FILE = 2**31 - 1  # bytes: protobuf counts them in 32 bits
MOST_PARTS = 200_000  # nodes, tensors and values of a graph; a DenseNet-121 has 4,000
MOST_BESIDE_TENSORS = 64 << 20  # bytes that are not the numbers of a large tensor: parsing takes 50 times as many
_LARGE = 1 << 16  # bytes of a part that is looked into
# Fields of protobuf's messages: of ModelProto, GraphProto, NodeProto, AttributeProto, and of TensorProto those with
# numbers of a fixed size.
_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR, _NUMBERS = 7, 1, 5, 5, 5, (4, 9, 10)


def read_model(path: str | os.PathLike[str]) -> Any:
    """Parse a file, with the tensors that it names beside it.

    Raises InputError if there is no such file, it is not an ONNX model, is larger than protobuf or this reader allow,
    needs newer operators than the package onnx knows or other ones, or names a tensor elsewhere than in its
    own folder.
    """
    source = f"ONNX file {path}"
    require_readable(path, "ONNX file", "an .onnx file")
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise InputError(f"{source}: expected at most 2 GB, got {size:,} bytes. Store its tensors beside it.")
    onnx = load_onnx()
    try:
        content = Path(path).read_bytes()
        _check_bounds(memoryview(content))
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # damaged bytes lead to many kinds
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{source}: not a readable ONNX model ({reason}). Get a new copy.") from error
    check_opset(model, source)
    if model.functions:
        raise InputError(f"{source}: expected ONNX's own operators, got functions of its own. Inline them.")
    read: Counter[str] = Counter()
    for name, tensor in external_tensors(model.graph):
        _load_external(tensor, Path(path), f"{source}, tensor {name!r}", read)
    return model


def _check_bounds(content: memoryview) -> None:
    """Refuse a model of more parts, or of more bytes beside large tensors, than any network's before it is parsed."""
    parts, beside = 0, len(content)
    for number, graph in _fields(content):
        if number != _GRAPH:
            continue
        for inner, part in _fields(graph):
            parts += 1
            if parts > MOST_PARTS:
                raise InputError(f"expected at most {MOST_PARTS:,} nodes and tensors, got more")
            if len(part) > _LARGE:
                tensors = [part] if inner == _INITIALIZER else _constants(part) if inner == _NODE else []
                beside -= sum(len(data) for t in tensors for field, data in _fields(t) if field in _NUMBERS)
    if beside > MOST_BESIDE_TENSORS:
        raise InputError(f"expected at most {MOST_BESIDE_TENSORS:,} bytes beside tensors' numbers, got {beside:,}")


def _constants(node: memoryview) -> Iterator[memoryview]:
    """The tensors among a node's attributes."""
    for field, attribute in _fields(node):
        if field == _ATTRIBUTE:
            yield from (tensor for inner, tensor in _fields(attribute) if inner == _TENSOR)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a protobuf message that hold bytes, by number.

    Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding.
    """
    at, nothing = 0, memoryview(b"")
    while at < len(message):
        tag, at = _varint(message, at)
        kind, length = tag & 7, 0
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise InputError(f"expected protobuf, got a field of kind {kind}")
        if at + length > len(message):
            raise InputError("expected a complete file, got one cut off")
        yield tag >> 3, message[at : at + length] if kind == 2 else nothing
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise InputError("expected protobuf, got a number without end")


def check_opset(model: Any, source: str, *, least: int = 1) -> None:
    """Raise InputError for a model of operators that the package onnx does not know; opset 0 is none."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version, newest = versions.get("", versions.get("ai.onnx", 0)), load_onnx().defs.onnx_opset_version()
    if not least <= version <= newest:
        raise InputError(
            f"{source}: expected an opset from 1 to {newest}, got {version or 'none'}. Export it with opset 20."
        )


def external_tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    """The tensors of a graph, of its nodes and of the graphs in these whose numbers are in other files, with a name."""
    named = [(tensor.name, tensor) for tensor in graph.initializer]
    sparse = [(tensor.values.name, tensor) for tensor in graph.sparse_initializer]
    for node in graph.node:
        name = node.name or (node.output[0] if node.output else "")
        for attribute in node.attribute:
            named += [(name, tensor) for tensor in (attribute.t, *attribute.tensors)]
            sparse += [(name, tensor) for tensor in (attribute.sparse_tensor, *attribute.sparse_tensors)]
            for inner in (attribute.g, *attribute.graphs):
                yield from external_tensors(inner)
    named += [(name, part) for name, tensor in sparse for part in (tensor.values, tensor.indices)]
    external = load_onnx().TensorProto.EXTERNAL
    yield from ((name, tensor) for name, tensor in named if tensor.data_location == external)


def _load_external(tensor: Any, path: Path, where: str, read: Counter[str]) -> None:
    """Take over the numbers of a tensor from a regular file in the model's own folder.

    ``read`` counts the bytes from each file: a file's are read once, so that a small model cannot ask for more.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    beside = path.parent / location
    if not location or Path(location).name != location or location in (".", ".."):
        raise InputError(f"{where}: expected a file beside the model, got {location!r}. Put it into the same folder.")
    if beside.is_symlink() or not beside.is_file():
        raise InputError(f"{where}: expected a regular file {location!r} beside the model, got none. Put it there.")
    onnx = load_onnx()
    try:
        offset = int(entries.get("offset", "0"))
        shape, dtype = tuple(tensor.dims), np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        length = int(np.prod(shape, dtype=object)) * dtype.itemsize
        room = beside.stat().st_size - offset
        if offset < 0 or not 0 <= length <= room or int(entries.get("length", length)) != length:
            raise InputError(f"{length:,} bytes from {offset:,} on in a file that has {max(room, 0):,}")
        read[location] += length
        if read[location] > room + offset or read.total() > LARGEST_FILE:
            raise InputError("tensors overlap in it, or all have more than 2 GB")
        with beside.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except (InputError, KeyError, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{where}: expected its numbers in {location!r} ({reason}). Get a new copy.") from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
