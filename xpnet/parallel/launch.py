"""What launchers of ranks tell each process in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

# MPICH, Intel MPI and their relatives; Open MPI; Slurm's srun, which counts the ranks of this step alone.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """How many ranks an MPI launcher has started this process with; 1 without one."""
    return max(_numbers(_SIZES, environment), default=1)


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The rank that an MPI launcher has given this process; 0 without one."""
    return max(_numbers(_RANKS, environment), default=0) if launched_ranks(environment) > 1 else 0


def _numbers(names: Sequence[str], environment: Mapping[str, str]) -> list[int]:
    return [int(environment[name]) for name in names if environment.get(name, "").isdecimal()]
