"""oneDNN's kernels against the definition and the pure ones, on float32; integers where sums must be exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_same_bits, host_copies
from tests.kernels import naive
from tests.kernels.test_convolution import problems
from tests.kernels.test_pooling import windows
from xpnet import kernels, models
from xpnet.kernels import onednn_kernels, onednn_library, onednn_running, table
from xpnet.layers import Conv2D
from xpnet.layers.normalization import by_batch, by_running_statistics, gradients
from xpnet.network import Network
from xpnet.shapes import Window

pytestmark = pytest.mark.skipif(not onednn_kernels.is_available(), reason="oneDNN is not here")
SAME = Window((3, 3), padding=((1, 1), (1, 1)))
PAIRS = Window((2, 2), (2, 2))


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def convolve(x, weight, bias, dy, window, groups=1):
    """y, dx, dw and db."""
    return kernels.conv2d(x, weight, bias, window, groups), *kernels.conv2d_backward(x, dy, weight, window, groups)


@given(problem=problems())
def test_convolution_equals_the_definition(problem):
    x, weight, dy = (array.astype(np.float32) for array in problem.arrays())
    bias, window, groups = np.arange(1.0, problem.outputs + 1, dtype=np.float32), problem.window, problem.groups
    ours = convolve(x, weight, bias, dy, window, groups)
    expected = (
        naive.conv2d(x, weight, window, groups) + bias,
        naive.conv2d_input_gradient(dy, weight, window, problem.image_size, groups),
        naive.conv2d_weight_gradient(x, dy, window, groups),
        dy.sum(axis=(0, 1, 2)),
    )
    for actual, right in zip(ours, expected, strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, right)


def test_a_bias_of_another_dtype_is_added_as_it_is():
    x, weight, bias = normal(2, 6, 6, 3), normal(4, 3, 3, 3, seed=1), np.arange(4.0)
    with kernels.using("pure"):
        expected = kernels.conv2d(x, weight, bias, SAME)
    np.testing.assert_allclose(kernels.conv2d(x, weight, bias, SAME), expected, rtol=1e-5, atol=1e-5)
    layer, state = Conv2D(4, 3, padding="same"), {}
    params = {"weight": weight, "bias": bias}
    np.testing.assert_allclose(layer.forward(params, state, x).y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [np.ones(3, np.float32), np.ones(5, np.float32)])
def test_nothing_is_read_past_the_end_of_a_bias(bias):
    with pytest.raises(ValueError, match=r"bytes|broadcast"):
        kernels.conv2d(normal(2, 6, 6, 3), normal(4, 3, 3, 3), bias, SAME)


def test_a_gradient_of_another_dtype_or_size_is_refused():
    x = normal(2, 6, 6, 3)
    y, winners = kernels.max_pool2d_with_winners(x, PAIRS)
    for dy in (y.astype(np.float64), y[:1]):
        with pytest.raises(ValueError, match="bytes"):
            kernels.max_pool2d_input_gradient(dy, winners, PAIRS, (6, 6))


@pytest.mark.parametrize(
    ("images", "weight", "window", "groups"),
    [
        ((2, 7, 6, 1), (16, 5, 5, 1), Window((5, 5), padding=((2, 2), (2, 2))), 1),
        ((2, 9, 9, 16), (16, 3, 3, 16), SAME, 1),
        ((1, 8, 7, 3), (5, 3, 2, 3), Window((3, 2), (2, 3), ((1, 0), (0, 1)), (2, 2)), 1),
        ((2, 6, 6, 17), (1, 1, 1, 17), Window((1, 1)), 1),
        ((2, 6, 6, 8), (12, 3, 3, 2), SAME, 4),
        ((2, 6, 6, 32), (32, 3, 3, 1), SAME, 32),
    ],
)
def test_these_are_served_with_no_kernel_but_onednns(monkeypatch, images, weight, window, groups):
    monkeypatch.setitem(table.TABLE, "conv2d", (table.ONEDNN,))
    monkeypatch.setitem(table.TABLE, "conv2d_backward", (table.ONEDNN,))
    table._row.cache_clear()
    x, weight = integers(*images), integers(*weight, seed=1)
    y = naive.conv2d(x, weight, window, groups)
    ours = convolve(x, weight, np.zeros(len(weight), np.float32), y.astype(np.float32), window, groups)
    table._row.cache_clear()
    np.testing.assert_array_equal(ours[0], y)
    np.testing.assert_allclose(ours[1], naive.conv2d_input_gradient(y, weight, window, images[1:3], groups), rtol=1e-5)
    np.testing.assert_allclose(ours[2], naive.conv2d_weight_gradient(x, y, window, groups), rtol=1e-5, atol=0.5)
    assert all(array.flags.c_contiguous for array in ours)


def normalizing(channels):
    params = {"weight": normal(channels, seed=2), "bias": normal(channels, seed=3)}
    state = {"running_mean": normal(channels, seed=4), "running_var": normal(channels, seed=5) ** 2 + 1}
    return kernels.Normalization(params, state, 1e-3)


@given(problem=problems(), is_normalized=st.booleans(), is_biased=st.booleans(), relu=st.booleans())
def test_a_block_for_prediction_equals_its_operations_in_float64(problem, is_normalized, is_biased, relu):
    x, weight, _ = (array.astype(np.float32) for array in problem.arrays())
    window, groups, bias = problem.window, problem.groups, normal(problem.outputs) if is_biased else None
    norm = normalizing(problem.outputs) if is_normalized else None
    if table.find("conv2d_block", x, weight, bias, window, groups, norm) is None:
        return  # a size for which oneDNN has a plain loop only
    expected = naive.conv2d(x, weight, window, groups) + (0 if bias is None else bias)
    if norm:
        expected = by_running_statistics(expected, norm.params, norm.state, norm.eps)[0]
    y = kernels.conv2d_block(x, weight, bias, window, groups, norm, relu=relu)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, rtol=1e-4, atol=1e-3)
    assert y.dtype == np.float32


@pytest.mark.parametrize("where", ["x", "weight", "bias", "running_mean", "running_var"])
def test_nan_passes_through_a_block(where):
    x, weight, norm = integers(2, 6, 6, 16), integers(16, 3, 3, 16, seed=1), normalizing(16)
    values = {"x": x, "weight": weight, "bias": norm.params["bias"], **norm.state}
    values[where].flat[3] = np.nan
    assert table.find("conv2d_block", x, weight, None, SAME, 1, norm) is onednn_kernels
    y = kernels.conv2d_block(x, weight, None, SAME, 1, norm, relu=True)
    unfused = kernels.conv2d(x, weight, None, SAME)
    unfused = np.maximum(by_running_statistics(unfused, norm.params, norm.state, norm.eps)[0], 0)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(unfused))
    assert np.isnan(y).any()


@given(
    window=windows(), extra=st.tuples(st.integers(0, 4), st.integers(0, 4)), channels=st.sampled_from([1, 3, 16, 17])
)
def test_pooling_equals_the_definition(window, extra, channels):
    smallest = [max(1, k - sum(padding)) for k, padding in zip(window.kernel, window.padding, strict=True)]
    x = np.random.default_rng(4).integers(-3, 0, (2, smallest[0] + extra[0], smallest[1] + extra[1], channels))
    x, size = x.astype(np.float32), x.shape[1:3]
    dy = integers(2, *window.output_size(*size), channels, seed=1)
    y, winners = kernels.max_pool2d_with_winners(x, window)
    expected_y, expected_dx = naive.max_pool2d(x, dy, window)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(kernels.max_pool2d(x, window), y)
    np.testing.assert_array_equal(kernels.max_pool2d_input_gradient(dy, winners, window, size), expected_dx)
    expected_y, expected_dx = naive.average_pool2d(x.astype(np.float64), dy.astype(np.float64), window)
    np.testing.assert_allclose(kernels.average_pool2d(x, window), expected_y, atol=1e-5)
    np.testing.assert_allclose(kernels.average_pool2d_input_gradient(dy, window, size), expected_dx, atol=1e-4)


@pytest.mark.parametrize("window", [PAIRS, Window((3, 3), (2, 2), ((1, 1), (1, 1))), Window((3, 2), (1, 3))])
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_pooling_is_served(window, channels):
    x = integers(2, 7, 6, channels)
    for operation in ("max_pool2d", "max_pool2d_with_winners", "average_pool2d"):
        assert table.find(operation, x, window) is onednn_kernels


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_of_values_that_are_not_finite_the_pure_maximum_takes_care(value):
    x = integers(2, 6, 6, 3)
    x[0, 2:4, 2:4] = value
    assert table.find("max_pool2d", x, PAIRS) is not onednn_kernels
    np.testing.assert_array_equal(kernels.max_pool2d(x, PAIRS)[0, 1, 1], np.full(3, value))


@pytest.mark.parametrize("shape", [(4, 5, 6, 16), (3, 4, 4, 5), (2, 3, 3, 1), (32, 10), (3, 7, 7, 64)])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_normalisation_equals_the_pure_formulas_in_float64(shape, constant, relu):
    x, dy, channels = 2 * normal(*shape) + 1, normal(*shape, seed=1), shape[-1]
    params = {"weight": normal(channels, seed=2), "bias": normal(channels, seed=3)}
    state = {"running_mean": normal(channels, seed=4), "running_var": normal(channels, seed=5) ** 2 + 1}

    def run(x, dy, params, state):
        if constant:
            y, saved = kernels.batch_norm_by_running_statistics(
                by_running_statistics, x, params, state, 1e-5, relu=relu
            )
            after = {}
        else:
            y, saved, after = kernels.batch_norm(by_batch, x, params, state, 0.3, 1e-5, relu=relu)
        settings = {"constant": constant, "need_dx": True, "relu": relu}
        dx, grads = kernels.batch_norm_gradients(gradients, dy, params, saved, **settings)
        return [y, dx, *(grads[name] for name in sorted(grads)), *(after[name] for name in sorted(after))]

    assert table.find("batch_norm", x, params, state, 0.3, 1e-5) is onednn_kernels
    doubled = [{name: array.astype(np.float64) for name, array in tree.items()} for tree in (params, state)]
    expected = run(x.astype(np.float64), dy.astype(np.float64), *doubled)
    for actual, right in zip(run(x, dy, params, state), expected, strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("where", ["x", "weight", "bias"])
@pytest.mark.parametrize("channels", [4, 16])  # of 16 oneDNN's own ReLU makes 0 of NaN
def test_nan_passes_through_batch_normalisation_and_relu(where, channels):
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    values = {"x": integers(2, 3, 3, channels), "weight": ones.copy(), "bias": zeros.copy()}
    values[where][..., 1] = np.nan
    params, state = {name: values[name] for name in ("weight", "bias")}, {"running_mean": zeros, "running_var": ones}
    for y in (
        kernels.batch_norm(by_batch, values["x"], params, state, 0.1, 1e-5, relu=True)[0],
        kernels.batch_norm_by_running_statistics(by_running_statistics, values["x"], params, state, 1e-5, relu=True)[0],
    ):
        assert np.isnan(y[..., 1]).all()
        assert np.isfinite(np.delete(y, 1, axis=3)).all()


@pytest.mark.parametrize("model", ["mnist_starter", "lenet5", "cifar10_starter"])
def test_a_networks_gradient_in_float32_is_that_of_the_pure_kernels_in_float64(model):
    recipe = models.create(model)
    images, labels = normal(4, *recipe.input_shape), np.arange(4, dtype=np.int32)
    found = {}
    for dtype in ("float32", "float64"):
        network = Network(recipe.layer, recipe.input_shape, seed=0, dtype=dtype)
        with kernels.using("fastest" if dtype == "float32" else "pure"):
            result = network.loss_and_gradient(network.theta, network.state, images.astype(dtype), labels)
        found[dtype] = result.gradient
    scale = np.abs(found["float64"]).max()
    np.testing.assert_allclose(found["float32"], found["float64"], rtol=0, atol=2e-5 * scale)


def test_arrays_with_gaps_and_at_odd_addresses_are_copied():
    x, weight = integers(2, 6, 6, 4), integers(4, 3, 3, 4, seed=1)
    expected = kernels.conv2d(x, weight, None, SAME)
    memory = np.empty(weight.nbytes + 1, np.uint8)
    misplaced = memory[1:].view(np.float32).reshape(weight.shape)
    misplaced[...] = weight
    assert not misplaced.flags.aligned
    turned = np.ascontiguousarray(x.transpose(1, 3, 2, 0)).transpose(3, 0, 2, 1)
    locked = x.copy()
    locked.flags.writeable = False
    for arrays in ((turned, weight), (x, misplaced), (locked, weight), (np.repeat(x, 2, axis=3)[..., ::2], weight)):
        assert table.find("conv2d", *arrays, None, SAME, 1) is onednn_kernels
        np.testing.assert_array_equal(kernels.conv2d(*arrays, None, SAME), expected)


def test_nothing_that_was_given_is_changed():
    x, weight, bias, dy = integers(2, 6, 6, 4), integers(4, 3, 3, 4), integers(4), integers(2, 6, 6, 4, seed=2)
    before = host_copies((x, weight, bias, dy))
    convolve(x, weight, bias, dy, SAME)
    kernels.max_pool2d_input_gradient(dy[:, ::2, ::2], kernels.max_pool2d_with_winners(x, PAIRS)[1], PAIRS, (6, 6))
    assert_same_bits((x, weight, bias, dy), before)


def test_other_dtypes_pure_kernels_and_empty_batches_do_without():
    x, weight = integers(2, 6, 6, 4), integers(4, 3, 3, 4)
    double = x.astype(np.float64), weight.astype(np.float64)
    for arrays in (double, (x, double[1]), (x[:0], weight)):
        assert table.find("conv2d", *arrays, None, SAME, 1) is not onednn_kernels
    with kernels.using("pure"):
        assert table.find("conv2d", x, weight, None, SAME, 1) is not onednn_kernels


def test_no_plain_loop_of_onednns_serves(monkeypatch):
    """Its names begin with ref; this is what it would be asked for if it had nothing else."""
    monkeypatch.setattr(onednn_library.Library, "implementation", lambda self, description: "ref:any")
    monkeypatch.setattr(onednn_running, "_mine", onednn_running._Mine())
    x, weight = integers(2, 6, 6, 4), integers(4, 3, 3, 4)
    assert table.find("conv2d", x, weight, None, SAME, 1) is not onednn_kernels
    np.testing.assert_array_equal(kernels.conv2d(x, weight, None, SAME), naive.conv2d(x, weight, SAME))
