"""What may follow a training: one protocol, whose users are the files of a run, progress bars and your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpnet.training.history import Record
    from xpnet.training.trainer import Trainer


class Callback:
    """Called as a training goes; a subclass overrides what it needs.

    ``trainer`` tells where it stands (``iteration``, ``iterations``, ``network``, ``history``); ``trainer.stop()`` ends
    it after the current iteration. The network holds the current values from ``on_report`` on, during ``on_step`` those
    of the last report.

        class StopAt(Callback):
            def on_report(self, trainer, record):
                if record.validation_score > 0.99:
                    trainer.stop()
    """

    def on_begin(self, trainer: Trainer) -> None:
        """Before the first step."""

    def on_step(self, trainer: Trainer) -> None:
        """After each step."""

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """After each record."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last record, unless an exception ended the training."""
