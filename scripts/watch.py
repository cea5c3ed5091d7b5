"""Show runs in a browser as they go on; see --help."""

from entry import run

run("watch")
