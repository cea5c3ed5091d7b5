"""What a piece of code makes the emulated device do."""

import ctypes
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

IS_EMULATED = "EMULATED_CUDA" in os.environ


class Record(list):
    """What was done, in order, with its detail: launch, to device, to host, on device, set, wait, graph, allocate."""

    def count(self, kind: str) -> int:
        """How often something of a kind was done."""
        return sum(done == kind for done, _ in self)

    def __str__(self) -> str:
        """Kinds and details by how often they come."""
        return "\n".join(f"{number:5} {' '.join(what)}" for what, number in Counter(self).most_common())


@contextmanager
def recorded() -> Iterator[Record]:
    """Everything that the device is given inside the ``with``; to be read behind it."""
    device, record = ctypes.CDLL("libcuda.so.1"), Record()
    device.emulated_record.restype = ctypes.c_char_p
    device.emulated_record(1)
    try:
        yield record
    finally:
        lines = device.emulated_record(0).decode().splitlines()
        record += [tuple(line.split("\t")) for line in lines]
