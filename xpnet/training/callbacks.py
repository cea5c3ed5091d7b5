"""What may follow a training: one protocol, whose users are the files of a run, progress bars and your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnet.errors import InputError
from xpnet.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from xpnet.training.history import Record
    from xpnet.training.trainer import Trainer


class Callback:
    """Called as a training goes; a subclass overrides what it needs.

    ``trainer`` tells where it stands (``iteration``, ``iterations``, ``network``, ``history``); ``trainer.stop()`` ends
    it after the current iteration. The network holds the current values from ``on_report`` on, during ``on_step`` those
    of the last report. Anything else that has all four methods is taken too.

        class StopAt(Callback):
            def on_report(self, trainer, record):
                if record.train_score > 0.99:
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


_HOOKS = ("on_begin", "on_step", "on_report", "on_end")


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks as a tuple. Raises InputError unless they are a list of objects whose on_* methods are the protocol's.

    A misspelled hook would never be called.
    """
    if not isinstance(callbacks, list | tuple):
        raise InputError(
            f"Training: expected callbacks to be a list, got {_kind(callbacks)}. Pass a list: callbacks=[...]."
        )
    for callback in callbacks:
        if isinstance(callback, type):
            raise InputError(
                f"Training: expected callbacks to be objects, got the class {callback.__name__}. "
                f"Pass an instance: {callback.__name__}()."
            )
        if isinstance(callback, EarlyStopping):  # whose best values count in one assignment with the report
            raise InputError(
                "Training: expected no EarlyStopping among callbacks, got one. Pass early_stopping=EarlyStopping(10)."
            )
        methods = {name for name in dir(callback) if name.startswith("on_") and callable(getattr(callback, name, None))}
        if not isinstance(callback, Callback) and not methods.issuperset(_HOOKS):
            raise InputError(
                f"Training: expected callbacks to be instances of xpnet.training.Callback, got {_kind(callback)}. "
                f"Derive its class from Callback, or define {', '.join(_HOOKS)}."
            )
        for name in sorted(methods.difference(_HOOKS)):
            raise InputError(
                f"{_kind(callback)}: expected only the hooks {', '.join(_HOOKS)}, got {name}, which is never called. "
                "Rename it."
            )
    return tuple(callbacks)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
