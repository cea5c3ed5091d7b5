"""Tests of what needs the package onnx, an extra."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("onnx") else ["test_*.py"]
