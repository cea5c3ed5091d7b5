"""Search for good hyper-parameters; see --help."""

from entry import run

run("search")
