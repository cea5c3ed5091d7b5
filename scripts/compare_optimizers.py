"""Compare optimizers; see --help."""

from entry import run

run("compare_optimizers")
