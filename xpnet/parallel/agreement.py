"""What ranks have to agree on: that all of them go on, with the same settings, code, data and parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import xpnet
from xpnet.errors import InputError, TrainingDivergedError, short
from xpnet.parallel.group import Group


class AgreedError(InputError):
    """An InputError that all ranks raise at the same place, so that each can end by itself."""


@contextmanager
def together(group: Group) -> Iterator[None]:
    """Let an error of one rank be that of all: the one of the first rank that has one.

    An InputError becomes an AgreedError; a TrainingDivergedError stays one. Nothing in the ``with`` block may wait for
    other ranks.
    """
    if group.size == 1:
        yield
        return
    error, kind = None, 0
    try:
        yield
    except (InputError, TrainingDivergedError) as caught:
        error, kind = caught, int(isinstance(caught, TrainingDivergedError))
    first = group.size - group.largest(0 if error is None else group.size - group.rank)
    if first < group.size:
        text = broadcast_text(group, str(error), first)
        text = text if first == 0 else f"Rank {first}: {text}"
        raise (TrainingDivergedError if group.largest(kind) else AgreedError)(text) from error


def check_same(group: Group, values: Mapping[str, object]) -> None:
    """Raise an AgreedError, on all ranks, that names the first value that is not as on rank 0."""
    if group.size == 1:
        return
    ours = {name: repr(value) for name, value in values.items()}
    theirs = json.loads(broadcast_text(group, json.dumps(ours), 0))
    with together(group):
        for name in [*theirs, *ours]:
            here, there = (short(_Plain(side.get(name, "nothing"))) for side in (ours, theirs))
            if ours.get(name) != theirs.get(name):
                raise InputError(
                    f"expected {name} to be that of rank 0, {there}, got {here}. "
                    "Start all ranks with the same command, on the same code and data."
                )


def check_same_values(group: Group, values: np.ndarray) -> int | None:
    """The last rank whose values are not rank 0's to the bit; None if all are the same."""
    digest = np.frombuffer(hashlib.sha256(np.ascontiguousarray(values).data).digest(), np.uint8).copy()
    differs = not np.array_equal(group.broadcast(digest.copy()), digest)
    return group.largest(group.rank if differs else 0) or None


def code_digest() -> str:
    """What differs for other source files of this package."""
    root, digest = Path(xpnet.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def broadcast_text(group: Group, text: str, root: int) -> str:
    """The text of one rank, on each of them."""
    own = np.frombuffer(text.encode(), np.uint8)
    length = group.largest(len(own) if group.rank == root else 0)
    buffer = np.zeros(length, np.uint8)
    if group.rank == root:
        buffer[:] = own
    return bytes(group.broadcast(buffer, root)).decode()


class _Plain(str):
    """A text that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)
