"""Progress as people see it: a bar on a terminal or in a notebook, a line for each report elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnet.training.callbacks import Callback
from xpnet.training.history import Record

if TYPE_CHECKING:
    from rich.console import Console

    from xpnet.training.trainer import Trainer


def record_text(record: Record, metric: str = "accuracy") -> str:
    """The metrics of one record on a line."""
    decay = f" + {record.weight_decay_loss:.4f} (weight decay)" if record.weight_decay_loss else ""
    text = f"loss {record.loss:.4f}{decay}  training {score_text(record.train_score, metric)}"
    if record.validation_score is None:
        return text
    return f"{text}  validation {score_text(record.validation_score, metric)}"


def short_text(record: Record, metric: str = "accuracy") -> str:
    """The metrics of one record as they fit beside a progress bar on 80 columns."""
    decay = f"+{record.weight_decay_loss:.3f} L2" if record.weight_decay_loss else ""
    text = f"loss {record.loss:.3f}{decay} train {score_text(record.train_score, metric, 1)}"
    return text if record.validation_score is None else f"{text} val {score_text(record.validation_score, metric, 1)}"


def score_text(score: float, metric: str, digits: int = 2) -> str:
    """A score as people write it: an accuracy in percent, R² as a number."""
    return f"{score:.{digits}%}" if metric == "accuracy" else f"R² {score:.{digits + 2}f}"


class ProgressBar(Callback):
    """Shows where a training stands: a bar where there is a terminal, a line for each record elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def on_begin(self, trainer: Trainer) -> None:
        """Open the bar."""
        from rich.console import Console  # here: xpnet's import stays as quick as NumPy's
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = self._console or Console(highlight=False, markup=False)
        if self._console.is_terminal or self._console.is_jupyter:
            layout = (BarColumn(6), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*layout, console=self._console, refresh_per_second=5)
            self._task = self._bar.add_task("", total=trainer.iterations, completed=trainer.iteration)
            self._bar.start()

    def on_step(self, trainer: Trainer) -> None:
        """Move on."""
        if self._bar:
            self._bar.update(self._task, completed=trainer.iteration)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Show the record."""
        if self._bar:
            text = f"{short_text(record, trainer.history.metric)} {trainer.progress.examples_per_second:,.0f}/s"
            self._bar.update(self._task, completed=record.iteration, description=text)
        elif self._console:
            number = f"{record.iteration:>{len(str(trainer.iterations))}}"
            text = record_text(record, trainer.history.metric)
            self._console.print(f"iteration {number}  {text}  {trainer.progress.examples_per_second:,.0f} examples/s")

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def on_end(self, trainer: Trainer) -> None:
        """Close the bar."""
        self.close()
