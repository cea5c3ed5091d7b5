"""How exactly products of float32 are computed on CuPy arrays, a choice of the whole process.

``float32`` is what it says. ``tf32`` lets tensor cores (from compute capability 8.0) round what they multiply to 10
bits of mantissa and add in float32. Arrays of other libraries and of other dtypes do not take notice.
"""

from __future__ import annotations

import os
import sys

from xpnet.checks import pick

PRECISIONS = ("float32", "tf32")
_precision = "float32"


def use_precision(precision: str) -> None:
    """Choose ``float32`` or ``tf32``.

    Raises InputError for any other choice.
    """
    global _precision
    _precision = pick("Precision", {name: name for name in PRECISIONS}, precision)
    _tell_cupy()


def precision_in_use() -> str:
    """The choice."""
    return _precision


def _tell_cupy() -> None:
    """CuPy reads CUPY_TF32 at its first product of float32 matrices; what it has decided before, it forgets here.

    Source: cupy/_core/_routines_linalg.pyx of CuPy 14.2.
    """
    os.environ["CUPY_TF32"] = "1" if _precision == "tf32" else "0"
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        cupy._core.set_compute_type("float32", cupy._core._routines_linalg.COMPUTE_TYPE_TBD)
