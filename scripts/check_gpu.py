"""Check xpnet on a GPU; see --help."""

from entry import run

run("check_gpu")
