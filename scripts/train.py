"""Train a network; see --help."""

from entry import run

run("train")
