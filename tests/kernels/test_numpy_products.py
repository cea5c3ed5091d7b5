"""Products that threads share against NumPy's own; integers, whose sums are exact."""

import numpy as np
import pytest

from xpnet import kernels
from xpnet.kernels import numpy_products, products, sharing, table


@pytest.fixture
def shared(monkeypatch):
    """As if threads had shared a convolution before."""
    monkeypatch.setattr(numpy_products, "blas_has_one_thread", lambda: True)


def integers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "inner", "columns"), [(16, 1100, 513), (700, 30, 512), (3, 2800, 1027)])
def test_a_shared_product_equals_numpys(shared, threads, dtype, rows, inner, columns):
    a, b = integers(rows, inner, dtype=dtype), integers(inner, columns, dtype=dtype, seed=1)
    sharing.set_threads(threads)
    try:
        for one in (a, np.asfortranarray(a)):
            for other in (b, np.asfortranarray(b), np.repeat(b, 2, axis=1)[:, ::2]):
                assert table.find("matmul", one, other) is numpy_products
                product = kernels.matmul(one, other)
                np.testing.assert_array_equal(product, a @ b)
                assert product.dtype == dtype
                assert product.flags.c_contiguous
    finally:
        sharing.set_threads(1)


@pytest.mark.parametrize("shape", [(1000, 1000, 511), (2, 100, 4096)])
def test_small_and_narrow_products_are_blass(shared, shape):
    rows, inner, columns = shape
    assert table.find("matmul", integers(rows, inner), integers(inner, columns)) is products


def test_products_are_blass_while_no_threads_share(monkeypatch):
    monkeypatch.setattr(numpy_products, "blas_has_one_thread", lambda: False)
    assert table.find("matmul", integers(1000, 1000), integers(1000, 1000)) is products
