"""Measure speed beside other libraries; see --help."""

from entry import run

run("benchmark")
