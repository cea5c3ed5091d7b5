"""Numbers in 16 bits, as gradients can be sent between ranks."""

from __future__ import annotations

import numpy as np

WIRE_DTYPES = ("float16", "bfloat16")
_NAN = np.uint16(0x7FC0)  # of bfloat16


def pack(values: np.ndarray, dtype: str) -> np.ndarray:
    """The bits of float32 values rounded to float16 or bfloat16, to the nearest, of two to the even one."""
    if dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), _NAN, rounded.astype(np.uint16))


def unpack(bits: np.ndarray, dtype: str) -> np.ndarray:
    """The float32 values of such bits."""
    if dtype == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)
