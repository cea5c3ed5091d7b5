"""Several processes, the ranks, that train one network: all that the trainer knows about them is a ``Group``.

An engine carries what they say to each other, by MPI or by torch.distributed; its library is imported by a process that
asks for it only.
"""

from __future__ import annotations

from functools import cache

from xpnet.checks import pick
from xpnet.parallel.group import Group
from xpnet.parallel.mpi import MPIGroup
from xpnet.parallel.torch_distributed import TorchGroup

__all__ = ["ALONE", "ENGINES", "Group", "connect"]

ENGINES = {"mpi": MPIGroup, "torch": TorchGroup}
"""Kinds of groups by name."""

ALONE = Group()
"""A process that has no others."""


def connect(engine: str | None) -> Group:
    """The ranks that an engine has started this process with; of None this process alone.

    Raises
    ------
    InputError
        For an unknown engine, or one that cannot be loaded.
    """
    return ALONE if engine is None else _connected(engine)


@cache
def _connected(engine: str) -> Group:
    return pick("Runtime, parallel", ENGINES, engine)()
