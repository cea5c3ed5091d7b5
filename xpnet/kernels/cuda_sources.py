"""The CUDA sources in ``cuda/``."""

from pathlib import Path


def source(file: str) -> str:
    """The text of a source."""
    return (Path(__file__).with_name("cuda") / file).read_text(encoding="utf-8")
