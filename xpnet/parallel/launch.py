"""What launchers of ranks tell each process in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple


class Launch(NamedTuple):
    """How many ranks were started, which one this process is, and what engine joins them; one process has none."""

    ranks: int = 1
    rank: int = 0
    engine: str | None = None


# Number of ranks, rank and engine of: MPICH, Intel MPI and their relatives; Open MPI; Slurm's srun, which counts the
# ranks of this step alone; torchrun.
_LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK", "mpi"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "mpi"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "mpi"),
    ("WORLD_SIZE", "RANK", "torch"),
)


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started."""
    for *names, engine in _LAUNCHERS:
        ranks, rank = (environment.get(name, "") for name in names)
        if engine == "torch" and "TORCHELASTIC_RUN_ID" not in environment:
            continue  # others use these names too
        if ranks.isdecimal() and rank.isdecimal() and int(ranks) > 1:
            return Launch(int(ranks), int(rank), engine)
    return Launch()
