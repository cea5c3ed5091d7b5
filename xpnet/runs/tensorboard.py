"""Records as TensorBoard shows them."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

from xpnet.checks import import_library
from xpnet.files import check_held, writing
from xpnet.training.callbacks import Callback
from xpnet.training.history import Record, column_name
from xpnet.training.trainer import Trainer


def find_library() -> Any:
    """The module that writes event files. Raises InputError if it is missing or broken."""
    return import_library(
        "tensorboardX",
        'TensorBoard: expected tensorboardX, found none installed. Install it with: pip install "xpnet[tensorboard]"; '
        "or leave tensorboard out.",
    )


class TensorBoardFile(Callback):
    """An event file in a folder that ``tensorboard --logdir`` reads; each record is flushed.

    Of files of the same run before it was resumed, what follows iteration ``after`` is hidden.

    Raises InputError if it cannot be written.
    """

    def __init__(self, library: Any, folder: Path, after: int = 0) -> None:
        self._library = library
        # Two files may be begun in the same second, of which the second follows another iteration.
        self._path = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{after}"
        start = library.proto.event_pb2.SessionLog(status=library.proto.event_pb2.SessionLog.START)
        check_held(self._path)
        with writing(self._path):
            folder.mkdir(exist_ok=True)
            # Not the library's SummaryWriter: its thread meets a full disk with a traceback, and the program's end too.
            self._file = library.RecordWriter(str(self._path))
            self._write(file_version="brain.Event:2")
            self._write(step=after + 1, session_log=start)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record: a scalar for each of its columns."""
        with writing(self._path):
            for field, value in record._asdict().items():
                if field != "iteration" and value is not None:
                    name = column_name(field, trainer.history.metric)
                    self._write(step=record.iteration, summary=self._library.summary.scalar(name, value))
            self._file.flush()

    def close(self) -> None:
        """Close the file; what could not be written has been reported already, and is not tried again."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, **content: Any) -> None:
        event = self._library.proto.event_pb2.Event(wall_time=time.time(), **content)
        self._file.write(event.SerializeToString())
