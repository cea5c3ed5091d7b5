"""Test a trained network; see --help."""

from entry import run

run("evaluate")
