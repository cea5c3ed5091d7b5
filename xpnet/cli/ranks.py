"""What the ranks of a run do beside training: start, write checkpoints and end together."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from xpnet.cli import common
from xpnet.cli.wording import in_flags
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.parallel import Group, connect
from xpnet.parallel.agreement import AgreedError, together
from xpnet.parallel.launch import launched
from xpnet.training import Callback, Trainer


def join(parser: common.Parser, argv: Sequence[str] | None) -> None:
    """Let the ranks that a launcher has started parse their flags together, and the first one alone speak."""
    launch = launched()
    parser.is_silent = launch.rank > 0
    if launch.engine and "none" not in (sys.argv if argv is None else argv):
        parser.joined = lambda: together(
            connect(launch.engine)
        )  # of one rank that ended by itself the others would not know


def engine_of(flags: argparse.Namespace) -> str | None:
    """What joins the processes of this run: as the flag says, or as the launcher does that has started several."""
    if flags.parallel is None:
        return launched().engine
    return None if flags.parallel == "none" else flags.parallel


@contextmanager
def ending_all(group: Group, spellings: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Let what ends one rank end all of them, with that rank's message; the others would wait for it for ever.

    What all of them raise at the same place passes through: agreed errors, a diverged training, a signal's exit.
    """
    try:
        yield
    except (AgreedError, TrainingDivergedError, SystemExit):
        raise
    except BaseException as error:
        if group.size == 1:
            raise
        code = common.EXIT_BAD_INPUT if isinstance(error, InputError) else common.EXIT_FAILED
        if isinstance(error, KeyboardInterrupt):
            code = common.EXIT_INTERRUPTED
        elif not isinstance(error, InputError | OSError | MemoryError):
            traceback.print_exc()
        text = in_flags(str(error), spellings) or type(error).__name__
        common.print_error(f"rank {group.rank}: {text}")
        sys.stdout.flush()
        sys.stderr.flush()
        group.abort(code)
        raise


class CheckpointPartner(Callback):
    """On all ranks but the first: takes part where the first one's ``CheckpointWriter`` writes, and writes nothing."""

    def on_step(self, trainer: Trainer) -> None:
        """Take part if it is time for a checkpoint."""
        if trainer.group.largest(0):
            self.write(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Take part in the last checkpoint."""
        self.write(trainer)

    def write(self, trainer: Trainer) -> None:
        """Take part in writing the state of this moment."""
        trainer.flush_metrics()
