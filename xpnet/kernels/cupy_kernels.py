"""Convolution and small steps for CuPy arrays: what is dozens of array operations, or two or three, is one kernel here.

Convolution is that of ``im2col``: every patch is copied to a row of one matrix, and the rest is a matrix product.

    y = P(x) W^T,  dW = dy^T P(x),  dx = P^T(dy W)

P^T, the adjoint of the copying, adds up what each pixel was copied to: each sum in one thread, so in one order. Kernels
are compiled by NVRTC when they first serve.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.kernels import table
from xpnet.kernels.cuda_kernels import MOST_ELEMENTS, THREADS, blocks, integers, slabs
from xpnet.kernels.cuda_sources import source
from xpnet.kernels.groups import gradients_groupwise, groupwise
from xpnet.shapes import Pair, Window

_PIXEL = Window((1, 1))  # its patches are the pixels, which need no copy
_JOINED_AT_ONCE = 128  # addresses and ends of so many vectors fit into the 4096 bytes of a kernel's arguments

_SIZES = (
    "int32 height, int32 width, int32 channels, int32 rows, int32 columns, int32 kh, int32 kw, "
    "int32 sh, int32 sw, int32 dh, int32 dw, int32 top, int32 left"
)

# One thread for each value of the images, which looks for the patches that it was copied to.
_add_patches = cupy.ElementwiseKernel(
    f"raw T patches, {_SIZES}",
    "T dx",
    """
    int rest = i, c = rest % channels;  // divisions of 64 bits take a GPU many times as long
    rest /= channels;
    int column = rest % width + left, row = rest / width % height + top;
    ptrdiff_t n = rest / width / height;
    Sum<T>::type sum = 0;
    for (int u = 0; u < kh && u * dh <= row; ++u) {
        int y = sh == 1 ? row - u * dh : (row - u * dh) / sh;
        if (y * sh != row - u * dh || y >= rows) continue;
        for (int v = 0; v < kw && v * dw <= column; ++v) {
            int x = sw == 1 ? column - v * dw : (column - v * dw) / sw;
            if (x * sw != column - v * dw || x >= columns) continue;
            sum += patches[((((n * rows + y) * columns + x) * kh + u) * kw + v) * channels + c];
        }
    }
    dx = sum;
    """,
    "xpnet_add_patches",
    preamble="""
    template <class T> struct Sum { typedef T type; };
    template <> struct Sum<float16> { typedef float type; };
    """,
)

_rectified_sum = cupy.ElementwiseKernel(
    "T a, T b", "T y", "T sum = a + b; y = sum <= T(0) ? T(0) : sum", "xpnet_rectified_sum"
)
_rectify_gradient = cupy.ElementwiseKernel("T dy, T y", "T dx", "dx = dy * T(y > T(0))", "xpnet_rectify_gradient")
_normalize = cupy.ElementwiseKernel("T x, T mean, T scale", "T y", "y = (x - mean) * scale", "xpnet_normalize")
_lerp = cupy.ElementwiseKernel(
    "T start, T end, T share",
    "T y",
    "y = start + share * (end - start)",
    "xpnet_lerp",
    options=("--fmad=false",),  # the product is rounded before it is added, as in array operations
)

# One thread for each value of a batch's inputs, the first of each example for its target too.
_take_examples = cupy.ElementwiseKernel(
    "raw X inputs, raw Y targets, raw I indices, int64 width",
    "T x, raw Y y",
    """
    ptrdiff_t row = i / width, place = i % width, from = indices[row];
    x = T(inputs[from * width + place]);
    if (place == 0) y[row] = targets[from];
    """,
    "xpnet_take_examples",
)

# Which vector an element comes from is found by bisection: ends[k] is where vector k ends in the result.
_JOIN = """
struct Vectors { unsigned long long address[COUNT]; long long end[COUNT]; };
extern "C" __global__ void xpnet_join(Vectors vectors, int count, TYPE* result)
{
    long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (at >= vectors.end[count - 1]) return;
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (at < vectors.end[middle]) high = middle; else low = middle + 1;
    }
    long long start = low ? vectors.end[low - 1] : 0;
    result[at] = ((const TYPE*)vectors.address[low])[at - start];
}
"""
_VECTORS = np.dtype([("address", np.uint64, _JOINED_AT_ONCE), ("end", np.int64, _JOINED_AT_ONCE)])
_WORDS = {2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}  # by their bytes


def serves(operation: str, first: Array, *others: Any) -> bool:
    """Floating point arrays that are not too large, and vectors of one dtype without gaps."""
    if operation == "join_vectors":
        vectors = (first, *others)
        return first.dtype.itemsize in _WORDS and all(
            vector.dtype == first.dtype and vector.flags.c_contiguous for vector in vectors
        )
    if operation == "take_examples":
        targets = others[0]
        return targets.ndim == 1 and first.size > 0 and first.dtype.kind in "biuf"
    return first.dtype.kind == "f" and first.size <= MOST_ELEMENTS


@groupwise
def conv2d(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    outputs = weight.shape[0]
    y = _product(_patches(x, window), weight.reshape(outputs, -1).T)
    if bias is not None:
        y = y + bias
    return y.reshape(x.shape[0], *window.output_size(*x.shape[1:3]), outputs)


@gradients_groupwise
def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (if needed) and weight."""
    outputs = weight.shape[0]
    dy = dy.reshape(-1, outputs)
    dw = _product(dy.T, _patches(x, window)).reshape(weight.shape)
    if not need_dx:
        return None, dw
    patches = _product(dy, weight.reshape(outputs, -1))
    if window == _PIXEL:
        return patches.reshape(x.shape), dw
    dx = cupy.empty(x.shape, dtype=x.dtype)
    _add_patches(patches, *_sizes(x.shape, window), dx)
    return dx, dw


def join_vectors(*vectors: Array) -> Array:
    """One vector of several."""
    result = cupy.empty(sum(vector.size for vector in vectors), dtype=vectors[0].dtype)
    start = 0
    for first in range(0, len(vectors), _JOINED_AT_ONCE):
        part = [vector for vector in vectors[first : first + _JOINED_AT_ONCE] if vector.size]
        if part:
            start = _join(part, result, start)
    return result


def rectify(x: Array) -> Array:
    """max(x, 0)."""
    return cupy.maximum(x, 0)


def rectify_gradient(dy: Array, y: Array) -> Array:
    """Input gradient of the rectifier: dy where the output y was above 0, else 0."""
    return _rectify_gradient(dy, y)


def rectified_sum(a: Array, b: Array) -> Array:
    """max(a + b, 0)."""
    return _rectified_sum(a, b)


def normalize(x: Array, mean: Array, scale: Array) -> Array:
    """(x - mean) * scale."""
    return _normalize(x, mean, scale)


def lerp(start: Array, end: Array, share: float | Array) -> Array:
    """Linear interpolation: start + share (end - start)."""
    return _lerp(start, end, share)


def take_examples(inputs: Array, targets: Array, indices: Array, dtype: Any) -> tuple[Array, Array]:
    """The inputs, in ``dtype``, and the targets of some examples."""
    x = cupy.empty((len(indices), *inputs.shape[1:]), dtype=dtype or inputs.dtype)
    y = cupy.empty(len(indices), dtype=targets.dtype)
    _take_examples(inputs, targets, indices, math.prod(inputs.shape[1:]), x, y)
    return x, y


def _patches(x: Array, window: Window) -> Array:
    """One row per output pixel with the kh*kw*C values under the kernel: (N*H'*W', kh*kw*C)."""
    if window == _PIXEL:
        return x.reshape(-1, x.shape[3])
    pixels = x.shape[0] * math.prod(window.output_size(*x.shape[1:3]))
    length = math.prod(window.kernel) * x.shape[3]
    patches = cupy.empty((pixels, length), dtype=x.dtype)
    if patches.size:
        grid, block, slab_rows = slabs(pixels, length)
        sizes = integers(*_sizes(x.shape, window), pixels, length, slab_rows)
        _copy_patches(x.dtype.itemsize)(grid, block, (cupy.ascontiguousarray(x), patches, *sizes))
    return patches


def _sizes(shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    pairs: list[Pair] = [window.output_size(*shape[1:3]), window.kernel, window.stride, window.dilation]
    return *shape[1:], *(number for pair in pairs for number in pair), window.padding[0][0], window.padding[1][0]


def _product(a: Array, b: Array) -> Array:
    return table.call("matmul", a, b)[1]


def _join(vectors: list[Array], result: Array, start: int) -> int:
    """Copy vectors into the result, one after the other; gives where the last ends."""
    table, sizes = np.zeros((), _VECTORS), [vector.size for vector in vectors]
    table["address"][: len(vectors)] = [vector.data.ptr for vector in vectors]
    table["end"][: len(vectors)] = np.cumsum(sizes)
    grid = (blocks(sum(sizes), THREADS),)
    _join_kernel(result.dtype.itemsize)(grid, (THREADS,), (table, np.int32(len(vectors)), result[start:]))
    return start + sum(sizes)


@cache
def _copy_patches(itemsize: int) -> Any:
    return cupy.RawKernel(f"#define TYPE {_WORDS[itemsize]}\n{source('patches.cu')}", "copy_patches")


@cache
def _join_kernel(itemsize: int) -> Any:
    code = _JOIN.replace("COUNT", str(_JOINED_AT_ONCE)).replace("TYPE", _WORDS[itemsize])
    return cupy.RawKernel(code, "xpnet_join")
