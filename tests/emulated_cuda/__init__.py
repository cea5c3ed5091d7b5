"""A CUDA device on the host, for CuPy as it comes from PyPI: see README.md."""
