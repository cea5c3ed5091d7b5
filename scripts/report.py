"""Write the report of a run; see --help."""

from entry import run

run("report")
