"""Both convolutions against the definition. The values are integers, so that every sum is exact."""

import importlib
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_close
from tests.kernels import naive
from xpnet import kernels
from xpnet.backend import resolve
from xpnet.kernels import im2col, numpy_kernels, sharing, unrolled
from xpnet.shapes import Pair, Window


class Problem(NamedTuple):
    """One convolution: its window and the sizes of its images."""

    window: Window
    image_size: Pair
    batch: int = 2
    channels: int = 2
    outputs: int = 3
    groups: int = 1

    def arrays(self):
        """Images, weight and dL/dy."""
        rng, rows_and_columns = np.random.default_rng(3), self.window.output_size(*self.image_size)

        def draw(*shape):
            return rng.integers(-9, 10, shape).astype(np.float64)

        return (
            draw(self.batch, *self.image_size, self.channels),
            draw(self.outputs, *self.window.kernel, self.channels // self.groups),
            draw(self.batch, *rows_and_columns, self.outputs),
        )


@st.composite
def problems(draw):
    pairs = {name: st.tuples(st.integers(1, most), st.integers(1, most)) for name, most in SETTINGS.items()}
    window = Window(
        draw(pairs["kernel"]),
        draw(pairs["stride"]),
        draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)),
        draw(pairs["dilation"]),
    )
    smallest = [max(1, extent - sum(padding)) for extent, padding in zip(window.extent, window.padding, strict=True)]
    image_size = (smallest[0] + draw(st.integers(0, 4)), smallest[1] + draw(st.integers(0, 4)))
    batch, channels, outputs, groups = (draw(st.integers(1, 3)) for _ in range(4))
    return Problem(window, image_size, batch, channels * groups, outputs * groups, groups)


SETTINGS = {"kernel": 3, "stride": 4, "dilation": 3}

EXAMPLES = [
    Problem(Window((1, 1)), (4, 3)),
    Problem(Window((1, 1), (2, 3)), (5, 6)),
    Problem(Window((5, 5), padding=((2, 2), (2, 2))), (6, 6)),
    Problem(Window((3, 2), (2, 3), ((1, 0), (0, 2)), (2, 3)), (6, 7)),
    Problem(Window((1, 1), (1, 3), ((0, 0), (2, 0))), (1, 1)),  # its only window lies in the padding
    Problem(Window((3, 3), padding=((1, 1), (1, 1))), (5, 4), channels=4, outputs=6, groups=2),
    Problem(Window((2, 2), (2, 1)), (4, 4), channels=3, outputs=3, groups=3),  # each channel by itself
]


def check(module, backend, problem):
    window, (x, weight, dy) = problem.window, problem.arrays()
    bias, move = np.arange(1.0, problem.outputs + 1), backend.asarray
    groups, image_size = problem.groups, problem.image_size
    y, dx = naive.conv2d(x, weight, window, groups), naive.conv2d_input_gradient(dy, weight, window, image_size, groups)
    dw = naive.conv2d_weight_gradient(x, dy, window, groups)
    assert_close(module.conv2d(move(x), move(weight), None, window, groups), move(y))
    assert_close(module.conv2d(move(x), move(weight), move(bias), window, groups), move(y + bias))
    gradients = module.conv2d_backward(move(x), move(dy), move(weight), window, groups)
    for ours, expected in zip(gradients, (dx, dw, dy.sum(axis=(0, 1, 2))), strict=True):
        assert_close(ours, move(expected))
    needs = {"need_dx": False, "need_db": False}
    nothing, alone, nor_this = module.conv2d_backward(move(x), move(dy), move(weight), window, groups, **needs)
    assert nothing is nor_this is None
    assert_close(alone, move(dw))


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """So many threads for NumPy's convolutions, however small these are, and tiles that cut these up."""
    monkeypatch.setattr(numpy_kernels, "_CACHED", 1)
    monkeypatch.setattr(numpy_kernels, "_NARROWEST", 3)
    monkeypatch.setattr(numpy_kernels, "_FEWEST_ROWS", 4)
    monkeypatch.setattr(numpy_kernels, "_LARGEST", 2000)
    monkeypatch.setattr(sharing, "WORTH_SHARING", 0)
    sharing.set_threads(request.param)
    yield request.param
    sharing.set_threads(1)


@pytest.fixture
def pure_only():
    """No kernels of a single library."""
    with kernels.using("pure"):
        yield


a_backend_has_nothing_to_set_back = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("module", [unrolled, im2col], ids=["unrolled", "im2col"])
@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"], indirect=True)
@given(problem=problems())
@a_backend_has_nothing_to_set_back
def test_convolution_equals_the_definition(module, backend, problem):
    check(module, backend, problem)


@pytest.mark.parametrize("problem", EXAMPLES)
@pytest.mark.parametrize("module", [unrolled, im2col], ids=["unrolled", "im2col"])
def test_convolution_equals_the_definition_on_every_library(module, backend, problem):
    check(module, backend, problem)


@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
@given(problem=problems())
@a_backend_has_nothing_to_set_back
def test_numpys_convolution_equals_the_definition_with_any_number_of_threads(threads, backend, problem):
    check(numpy_kernels, backend, problem)


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("problem", EXAMPLES)
def test_a_librarys_own_convolution_equals_the_definition(library, problem):
    pytest.importorskip(library)
    check(importlib.import_module(f"xpnet.kernels.{library}_kernels"), resolve("cpu", library), problem)


@pytest.mark.parametrize("accelerator", [False, True])
def test_the_chosen_convolution_equals_the_definition_wherever_it_runs(backend, accelerator, monkeypatch):
    monkeypatch.setattr(im2col, "on_accelerator", lambda array: accelerator)
    check(kernels, backend, EXAMPLES[2])


@pytest.mark.parametrize(("accelerator", "chosen"), [(False, unrolled), (True, im2col)])
def test_of_the_pure_ones_accelerators_get_one_large_gemm(accelerator, chosen, backend, pure_only, monkeypatch):
    monkeypatch.setattr(im2col, "on_accelerator", lambda array: accelerator)
    assert calls(chosen, backend, monkeypatch) == {"conv2d", "conv2d_backward"}


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"], indirect=True)
def test_a_library_with_kernels_of_its_own_gets_them(backend, monkeypatch):
    chosen = importlib.import_module(f"xpnet.kernels.{backend.name}_kernels")
    assert calls(chosen, backend, monkeypatch) == {"conv2d", "conv2d_backward"}


def calls(module, backend, monkeypatch):
    """Which of a module's functions the dispatcher calls for a convolution and its gradients."""
    called = []
    for name in ("conv2d", "conv2d_backward"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, n=name, f=real, **k: called.append(n) or f(*a, **k))
    x, weight, dy = (backend.asarray(array) for array in EXAMPLES[2].arrays())
    kernels.conv2d(x, weight, None, EXAMPLES[2].window)
    kernels.conv2d_backward(x, dy, weight, EXAMPLES[2].window)
    return set(called)


@pytest.mark.parametrize("module", [unrolled, numpy_kernels], ids=["unrolled", "numpy"])
def test_the_batch_stays_innermost_in_memory(module):
    x, weight, _ = EXAMPLES[2].arrays()
    y = module.conv2d(x, weight, None, EXAMPLES[2].window)
    assert np.transpose(y, (1, 3, 2, 0)).flags.c_contiguous


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (6, 3)])
def test_a_channels_sum_is_that_of_all_its_values(backend, shape):
    x = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    assert_close(kernels.channel_sum(backend.asarray(x)), backend.asarray(x.reshape(-1, shape[-1]).sum(axis=0)))


def test_helping_threads_follow_np_errstate(threads):
    x, weight, window = np.full((1, 8, 8, 1), 1e38, np.float32), np.full((1, 3, 3, 1), 1e38, np.float32), Window((3, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(numpy_kernels.conv2d(x, weight, None, window)).any()
