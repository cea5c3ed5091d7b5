"""The command line with something wrong on rank 1: the first argument says what."""

from __future__ import annotations

import sys
import time
from typing import Any

from xpnet.cli.main import main
from xpnet.parallel.launch import launched
from xpnet.training import Trainer

AT = 25  # the step in which it happens


def _fail(trainer: Trainer) -> None:
    raise ZeroDivisionError("a bug of rank 1")


def _fill_disk(trainer: Trainer) -> None:
    raise OSError(28, "No space left on device")


def _hang(trainer: Trainer) -> None:
    time.sleep(1000)


def _differ(trainer: Trainer) -> None:
    state = trainer._position.state
    trainer._position = trainer._position._replace(state=state._replace(theta=state.theta * (1 + 1e-6)))


FAULTS = {"fail": _fail, "disk": _fill_disk, "hang": _hang, "differ": _differ}


def run(fault: str, words: list[str]) -> int:
    """The command line, on rank 1 with the fault."""
    if fault == "missing":
        sys.modules["mpi4py"] = None  # pyright: ignore[reportArgumentType]
    elif launched().rank == 1:
        step = Trainer.step

        def faulty(self: Trainer, **settings: Any) -> Any:
            if self.iteration == AT:
                FAULTS[fault](self)
            return step(self, **settings)

        Trainer.step = faulty  # type: ignore[method-assign]
    return main(words)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
