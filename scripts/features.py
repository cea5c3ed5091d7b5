"""Show what a layer makes of an image; see --help."""

from entry import run

run("features")
