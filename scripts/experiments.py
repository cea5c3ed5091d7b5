"""Repeat the published experiments; see --help."""

from entry import run

run("experiments")
