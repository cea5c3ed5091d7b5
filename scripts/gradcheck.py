"""Check every gradient against finite differences; see --help."""

from entry import run

run("gradcheck")
