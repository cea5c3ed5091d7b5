"""What holds for every layer on every array library."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

import xpnet.layers
from tests.helpers import assert_close, assert_lives_on, host_copies, leaves, refused
from tests.layers.runs import start
from xpnet import kernels
from xpnet.backend import Backend, backend_of, resolve, to_numpy
from xpnet.errors import InputError
from xpnet.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    Sequential,
)
from xpnet.layers.examples import EXAMPLES, Example
from xpnet.layout import map_tree, walk
from xpnet.random import make_key
from xpnet.serialization import from_config, to_config

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def test_every_public_layer_is_tested():
    public = (getattr(xpnet.layers, name) for name in xpnet.layers.__all__)
    layers = {thing for thing in public if isinstance(thing, type) and issubclass(thing, Layer) and thing is not Layer}
    assert layers == {type(example.layer) for example in EXAMPLES}


def test_the_examples_differ_in_every_argument_of_windows():
    windows = {
        kind: [example.layer.window for example in EXAMPLES if isinstance(example.layer, kind)]
        for kind in (Conv2D, MaxPool2D, AvgPool2D)
    }
    for setting in ("kernel", "stride", "padding", "dilation"):
        assert len({getattr(window, setting) for window in windows[Conv2D]}) > 1
    for pool in (MaxPool2D, AvgPool2D):
        assert any(window.stride < window.kernel for window in windows[pool])
        assert any(window.padding != ((0, 0), (0, 0)) for window in windows[pool])


def test_init_gives_float64_host_arrays_that_follow_the_seed(example: Example):
    def draw(seed):
        return example.layer.init(np.random.default_rng(seed), example.input_shape)

    first, same, other = draw(1), draw(1), draw(2)
    assert first.output_shape == example.layer.output_shape(example.input_shape)
    for array in leaves([first.params, first.state]):
        assert type(array) is np.ndarray
        assert array.dtype == np.float64
    for (name, a), (_, b), (_, c) in zip(walk(first.params), walk(same.params), walk(other.params), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.all(a != c) or np.all(a == a.flat[0]), name  # drawn, or one number throughout


@pytest.mark.parametrize("layer", [Dense(3), Conv2D(2, 3), MaxPool2D(2), AvgPool2D(2), GlobalAvgPool2D()])
def test_a_wrong_rank_is_refused_by_name(layer):
    for wrong in ((3, 4, 5, 2), () if isinstance(layer, Dense) else (3, 4)):
        with refused(f"{type(layer).__name__}: expected", "got shape (N"):
            layer.init(np.random.default_rng(0), wrong)


def test_settings_survive_as_json(example: Example):
    assert from_config(json.loads(json.dumps(to_config(example.layer)))) == example.layer


@pytest.mark.parametrize("choice", ["fastest", "pure"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_pass_keeps_library_device_dtype_and_shapes(example: Example, backend, dtype, choice):
    run = start(example, backend, dtype)
    with kernels.using(choice):
        y, cache, state = run.forward()
        dx, grads = run.backward(cache)
    assert tuple(y.shape) == (2, *example.layer.output_shape(example.input_shape))
    assert tuple(dx.shape) == tuple(run.x.shape)
    assert shapes(grads) == shapes(run.params)
    assert shapes(state) == shapes(run.state)
    for array in leaves([y, dx, grads, state]):
        assert_lives_on(array, backend, dtype)


def test_the_cache_holds_arrays_of_the_backend_only(example: Example, backend):
    for item in leaves(start(example, backend).forward().cache):
        assert (backend_of(item).name, backend_of(item).device) == (backend.name, backend.device)


def test_nothing_handed_in_is_changed(example: Example, backend):
    run = start(example, backend)
    handed_in = [run.params, run.state, run.x, run.dy, run.key]
    before = host_copies(handed_in)
    cache = run.forward().cache
    cache_before = host_copies(cache)
    run.backward(cache)
    for a, b in zip(before + cache_before, host_copies([*handed_in, cache]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_keeps_no_cache_and_changes_no_state(example: Example, backend):
    run = start(example, backend)
    _, cache, state = run.forward(train=False)
    assert cache is None
    for a, b in zip(leaves(state), leaves(run.state), strict=True):
        assert_close(a, b)
    with pytest.raises(InputError, match=r"backward needs the cache of forward\(\.\.\., train=True\), got None"):
        run.backward(None)


def test_without_need_dx_only_the_parameters_get_gradients(example: Example, backend):
    run = start(example, backend)
    cache = run.forward().cache
    with_dx, without = run.backward(cache), run.backward(cache, need_dx=False)
    assert without.dx is None
    for a, b in zip(leaves(without.grads), leaves(with_dx.grads), strict=True):
        assert_close(a, b, rtol=1e-13)  # the weight gradient may be summed in another order


def test_the_same_key_gives_the_same_output(example: Example, backend):
    run = start(example, backend)
    assert_close(run.forward().y, run.forward().y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_computes_what_numpy_does(example: Example, backend, dtype):
    run, reference = start(example, backend, dtype), start(example, resolve("cpu"))
    y, cache, _ = run.forward()
    expected, reference_cache, _ = reference.forward()
    actual = [y, *run.backward(cache)]
    for a, b in zip(leaves(actual), leaves([expected, *reference.backward(reference_cache)]), strict=True):
        np.testing.assert_allclose(to_numpy(a), b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_memory_order_of_the_input_does_not_matter(example: Example, backend):
    run = start(example, backend)
    cache = run.forward().cache
    expected = [run.forward().y, *run.backward(cache)]
    run.x, run.dy = stored_backwards(backend, run.x), stored_backwards(backend, run.dy)
    y, cache, _ = run.forward()
    for a, b in zip(leaves([y, *run.backward(cache)]), leaves(expected), strict=True):
        assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_jit_of_forward_and_backward_together_and_apart(example: Example, backend):
    import jax

    run, layer = start(example, backend), example.layer

    def forward(params, x):
        return layer.forward(params, run.state, x, train=True, key=run.key)[:2]

    def backward(params, cache, dy):
        return tuple(layer.backward(params, cache, dy))

    def together(params, x, dy):
        y, cache = forward(params, x)
        return y, backward(params, cache, dy)

    y, cache = forward(run.params, run.x)
    expected = [y, backward(run.params, cache, run.dy)]
    y, cache = jax.jit(forward)(run.params, run.x)
    apart = [y, jax.jit(backward)(run.params, cache, run.dy)]
    for result in (apart, jax.jit(together)(run.params, run.x, run.dy)):
        for a, b in zip(leaves(list(result)), leaves(expected), strict=True):
            assert_close(a, b, rtol=1e-12, atol=1e-12)


def shapes(tree):
    """The tree with shapes in place of arrays."""
    return map_tree(lambda array: tuple(array.shape), tree)


def stored_backwards(backend, array):
    """The same values and shape, with the first axis innermost in memory where the library has strides."""
    axes = tuple(reversed(range(array.ndim)))
    copy = backend.asarray(np.ascontiguousarray(np.transpose(to_numpy(array), axes)))
    return backend.xp.permute_dims(copy, axes)


def test_a_gradient_in_another_shape_than_y_is_refused(example: Example, backend):
    run = start(example, backend)
    cache = run.forward().cache
    longer = backend.xp.concat([run.dy, run.dy], axis=-1)
    with refused("expected dy in the shape of y", str(tuple(longer.shape))):
        example.layer.backward(run.params, cache, longer)


def has_values(example):
    variables = example.layer.init(np.random.default_rng(0), example.input_shape)
    return any(True for _ in leaves([variables.params, variables.state]))


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if has_values(example)],
    ids=lambda example: type(example.layer).__name__,
)
def test_a_batch_of_another_dtype_is_refused_by_the_first_layer_with_values(example: Example, backend):
    run = start(example, backend, "float64")
    with refused("expected x to be float64 of", "got float32 of"):
        example.layer.forward(run.params, run.state, backend.asarray(run.x, "float32"), key=run.key)


def inside_stage(example):
    """The example's layer as stage.part of a network, where errors must say so."""
    return example._replace(layer=Sequential([("stage", Sequential([("part", example.layer)]))]))


def elsewhere(backend):
    """Another device of the backend's library, and another library."""
    if backend.name == "array_api_strict":
        yield Backend(backend.name, backend.xp, backend.xp.Device("CPU_DEVICE"))
    if backend.name == "jax":
        yield resolve("cpu", "jax")
    if backend.name != "numpy":
        yield resolve("cpu")
    elif find_spec("torch"):
        yield resolve("cpu", "torch")


def test_a_gradient_of_another_dtype_device_or_library_is_refused(example: Example, backend):
    run = start(example, backend)
    cache = run.forward().cache
    for dy in [backend.asarray(run.dy, "float32"), *(moved(run.dy, other) for other in elsewhere(backend))]:
        with refused(f"{type(example.layer).__name__}", "dy to be float64 of"):
            example.layer.backward(run.params, cache, dy)


def moved(array, backend):
    """The array on another backend; JAX would move it back by itself were it not bound to its device."""
    array = backend.asarray(to_numpy(array))
    if backend.name == "jax":
        import jax

        return jax.device_put(array, backend.device)
    return array


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if has_values(example)],
    ids=lambda example: type(example.layer).__name__,
)
def test_a_batch_of_another_device_or_library_is_refused_by_name(example: Example, backend):
    run = start(inside_stage(example), backend)
    cache = run.forward().cache
    for other in elsewhere(backend):
        with refused("'stage.part", "expected x to be float64 of"):
            run.example.layer.forward(run.params, run.state, moved(run.x, other), key=run.key)
        params = map_tree(lambda array, other=other: moved(array, other), run.params)
        if list(leaves(params)):
            with refused("'stage.part", "expected dy to be float64 of"):
                run.example.layer.backward(params, cache, run.dy)


def test_an_empty_batch_is_refused_by_name(example: Example, backend):
    run = start(example, backend)
    for train in (False, True):
        with refused(f"{type(example.layer).__name__}", "a batch of at least one example", "got shape (0"):
            example.layer.forward(run.params, run.state, run.x[:0, ...], train=train, key=run.key)


@pytest.mark.parametrize("backend", ["torch", "jax", "array_api_strict"], indirect=True)
def test_a_key_of_another_library_is_refused_by_name(backend):
    layer = Sequential([("stage", Sequential([("part", Dropout(0.5))]))])
    x = backend.asarray(np.ones((2, 3), np.float32))
    with refused("Dropout 'stage.part': expected a key beside the batch"):
        layer.forward(*layer.init(np.random.default_rng(0), (3,))[:2], x, train=True, key=make_key(0))


def test_a_layer_with_matrices_says_how_many_multiplications_they_take(example: Example):
    """But for tables, whose rows are looked up or added."""
    for _, layer, shape in example.layer.leaves(example.input_shape):
        has_matrices = any(array.ndim > 1 for array in leaves(layer.init(np.random.default_rng(0), shape).params))
        if type(layer).__name__ not in ("Embedding", "LearnedPositions", "SelfAttention"):
            assert (layer.multiplications(shape) > 0) == has_matrices


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Sequential([Dense(4), Dense(2)]), (3,), 3 * 4 + 4 * 2),
        (Dense(4), (5, 3), 5 * 3 * 4),
        (Conv2D(6, 3, groups=3, padding=1), (4, 5, 9), 4 * 5 * 6 * 9 * 3),
        (xpnet.layers.DepthwiseConv2D(3, multiplier=2), (4, 5, 7), 2 * 3 * 14 * 9),
        (xpnet.layers.Conv1D(6, 3, groups=2), (8, 4), 6 * 6 * 3 * 2),
        (xpnet.layers.ConvTranspose2D(6, 2, stride=2), (4, 5, 3), 4 * 5 * 3 * 4 * 6),
        (xpnet.layers.SelfAttention(2), (7, 12), 2 * 7 * 7 * 4),
    ],
)
def test_multiplications(layer, shape, expected):
    assert layer.multiplications(shape) == expected
