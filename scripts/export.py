"""Write the network of a finished run as an ONNX file; see --help."""

from entry import run

run("export")
