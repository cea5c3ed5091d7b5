"""Records as TensorBoard shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnet.checks import import_library
from xpnet.training.history import Record


def find_library() -> Any:
    """The module that writes event files. Raises InputError if it is missing or broken."""
    return import_library(
        "tensorboardX",
        '--tensorboard: tensorboardX is not installed. Install it with: pip install "xpnet[tensorboard]"; '
        "or leave --tensorboard out.",
    )


class TensorBoardFile:
    """An event file in a folder that ``tensorboard --logdir`` reads; each record is flushed.

    Of files of the same run before it was resumed, what follows iteration ``after`` is hidden.
    """

    def __init__(self, library: Any, folder: Path, after: int = 0) -> None:
        # The library names files by the second, and would write over one that was begun in the same.
        self._writer = library.SummaryWriter(str(folder), purge_step=after + 1, filename_suffix=f".{after}")

    def append(self, record: Record) -> None:
        """Write one record: a scalar for each of its columns."""
        for name, value in record._asdict().items():
            if name != "iteration":
                self._writer.add_scalar(name, value, record.iteration)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
