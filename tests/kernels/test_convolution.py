"""Both convolutions against the definition. The values are whole numbers, so that every sum is exact."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_close
from tests.kernels import naive
from xpnet import kernels
from xpnet.kernels import im2col, unrolled
from xpnet.shapes import Pair, Window


class Problem(NamedTuple):
    """One convolution: its window and the sizes of its images."""

    window: Window
    image_size: Pair
    batch: int = 2
    channels: int = 2
    outputs: int = 3

    def arrays(self):
        """Images, weight and dL/dy."""
        rng, rows_and_columns = np.random.default_rng(3), self.window.output_size(*self.image_size)

        def draw(*shape):
            return rng.integers(-9, 10, shape).astype(np.float64)

        return (
            draw(self.batch, *self.image_size, self.channels),
            draw(self.outputs, *self.window.kernel, self.channels),
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
    return Problem(window, image_size, *(draw(st.integers(1, 3)) for _ in range(3)))


SETTINGS = {"kernel": 3, "stride": 4, "dilation": 3}

EXAMPLES = [
    Problem(Window((1, 1)), (4, 3)),
    Problem(Window((1, 1), (2, 3)), (5, 6)),
    Problem(Window((5, 5), padding=((2, 2), (2, 2))), (6, 6)),
    Problem(Window((3, 2), (2, 3), ((1, 0), (0, 2)), (2, 3)), (6, 7)),
    Problem(Window((1, 1), (1, 3), ((0, 0), (2, 0))), (1, 1)),  # its only window lies in the padding
]


def check(module, backend, problem):
    window, (x, weight, dy) = problem.window, problem.arrays()
    move = backend.asarray
    assert_close(module.conv2d(move(x), move(weight), window), move(naive.conv2d(x, weight, window)))
    assert_close(
        module.conv2d_weight_gradient(move(x), move(dy), window), move(naive.conv2d_weight_gradient(x, dy, window))
    )
    assert_close(
        module.conv2d_input_gradient(move(dy), move(weight), window, problem.image_size),
        move(naive.conv2d_input_gradient(dy, weight, window, problem.image_size)),
    )


@pytest.mark.parametrize("module", [unrolled, im2col], ids=["unrolled", "im2col"])
@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"], indirect=True)
@given(problem=problems())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # a backend has nothing to set back
def test_convolution_equals_the_definition(module, backend, problem):
    check(module, backend, problem)


@pytest.mark.parametrize("problem", EXAMPLES)
@pytest.mark.parametrize("module", [unrolled, im2col], ids=["unrolled", "im2col"])
def test_convolution_equals_the_definition_on_every_library(module, backend, problem):
    check(module, backend, problem)


@pytest.mark.parametrize("accelerator", [False, True])
def test_the_chosen_convolution_equals_the_definition_wherever_it_runs(backend, accelerator, monkeypatch):
    monkeypatch.setattr(kernels, "on_accelerator", lambda array: accelerator)
    check(kernels, backend, EXAMPLES[2])


@pytest.mark.parametrize(("accelerator", "chosen"), [(False, unrolled), (True, im2col)])
def test_accelerators_get_one_large_gemm(accelerator, chosen, monkeypatch):
    monkeypatch.setattr(kernels, "on_accelerator", lambda array: accelerator)
    x, weight, dy = EXAMPLES[2].arrays()
    for name, arguments in {
        "conv2d": (x, weight, EXAMPLES[2].window),
        "conv2d_input_gradient": (dy, weight, EXAMPLES[2].window, EXAMPLES[2].image_size),
        "conv2d_weight_gradient": (x, dy, EXAMPLES[2].window),
    }.items():
        monkeypatch.setattr(chosen, name, lambda *arguments: arguments)
        assert getattr(kernels, name)(*arguments) == arguments


def test_unrolled_keeps_the_batch_innermost_in_memory():
    x, weight, _ = EXAMPLES[2].arrays()
    y = unrolled.conv2d(x, weight, EXAMPLES[2].window)
    assert np.transpose(y, (1, 3, 2, 0)).flags.c_contiguous
