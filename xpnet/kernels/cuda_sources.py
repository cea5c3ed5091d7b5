"""The CUDA sources in ``cuda/``."""

import re
from pathlib import Path

FOLDER = Path(__file__).with_name("cuda")


def source(file: str) -> str:
    """The text of a source, and in it that of the headers beside it."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"$', lambda included: source(included[1]), text, flags=re.MULTILINE)
