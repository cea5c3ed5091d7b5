"""The CUDA kernels against the pure ones and the definition, on CuPy: a GPU, or the emulated one."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PRESENT
from tests.helpers import assert_close, refused
from tests.kernels import naive
from xpnet import backend as backends
from xpnet import kernels
from xpnet.backend import Backend, to_numpy
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from xpnet.layers.normalization import by_batch, by_running_statistics, gradients
from xpnet.network import Network
from xpnet.optimizers import SGD, Adam, AdamW, Momentum, optimizer_update
from xpnet.shapes import Window
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step

MODULE = "xpnet.kernels.cuda_kernels"


pytestmark = pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")


@pytest.fixture(scope="module")
def cuda() -> Backend:
    """Where the kernels run."""
    return backends.resolve("cuda")


@pytest.fixture
def launched(cuda, monkeypatch) -> list[str]:
    """The kernels launched during a test, by name."""
    module, names = import_module(MODULE), []
    launch = module._launch
    monkeypatch.setattr(module, "_launch", lambda name, *rest: (names.append(name.split("/")[1]), launch(name, *rest)))
    return names


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def on(where, *trees):
    """Trees of host arrays, moved."""
    return [{name: where.asarray(array) for name, array in tree.items()} for tree in trees]


SIDE_BY_SIDE = Window((2, 2), (2, 2))
POOLS = [
    (Window((2, 2), (2, 2)), (2, 6, 8, 5)),
    (Window((2, 2), (2, 2)), (1, 5, 5, 1)),  # rows and columns are left over
    (Window((3, 3), (2, 2), ((1, 1), (1, 1))), (3, 9, 7, 16)),
    (Window((3, 2), (2, 1), ((1, 1), (1, 0))), (2, 5, 6, 3)),
    (Window((2, 3), (3, 4)), (2, 8, 11, 2)),  # pixels between windows belong to none
    (Window((4, 4), (1, 1), ((2, 2), (2, 2))), (1, 1, 1, 1)),
]


@pytest.mark.parametrize(("window", "shape"), POOLS)
def test_pooling_equals_the_definition_and_the_pure_kernels(cuda, launched, window, shape):
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, shape).astype(np.float32)
    dy = rng.integers(1, 10, (shape[0], *window.output_size(*shape[1:3]), shape[3])).astype(np.float32)
    y, winners = kernels.max_pool2d_with_winners(cuda.asarray(x), window)
    dx = kernels.max_pool2d_input_gradient(cuda.asarray(dy), winners, window, shape[1:3])
    assert_close(kernels.max_pool2d(cuda.asarray(x), window), y)
    for actual, expected in zip((y, dx), naive.max_pool2d(x, dy, window), strict=True):
        assert_close(actual, cuda.asarray(expected, "float32"))
    assert launched == ["max_pool2d", "max_pool2d_input_gradient", "max_pool2d"]


@pytest.mark.parametrize(("window", "shape"), POOLS)
def test_pooling_with_a_rectifier_equals_one_after_the_other(cuda, launched, window, shape):
    rng = np.random.default_rng(1)
    x = cuda.asarray(rng.integers(-3, 3, shape).astype(np.float32))
    dy = cuda.asarray(normal(shape[0], *window.output_size(*shape[1:3]), shape[3]))
    y, saved = kernels.rectified_max_pool2d(x, window)
    dx = kernels.rectified_max_pool2d_input_gradient(dy, saved, window, shape[1:3])
    assert launched == ["max_pool2d", "max_pool2d_input_gradient"]
    pooled, winners = kernels.max_pool2d_with_winners(x, window)
    assert_close(y, kernels.rectify(pooled))
    dy = kernels.rectify_gradient(dy, y)
    assert_close(dx, kernels.max_pool2d_input_gradient(dy, winners, window, shape[1:3]))


def test_a_nan_is_a_maximum(cuda):
    x = np.zeros((1, 2, 2, 2), np.float32)
    x[0, 0, 1, 0] = np.nan
    x = cuda.asarray(x)
    for y in (kernels.max_pool2d(x, SIDE_BY_SIDE), kernels.rectified_max_pool2d(x, SIDE_BY_SIDE)[0]):
        np.testing.assert_array_equal(to_numpy(y), [[[[np.nan, 0.0]]]])


def test_a_gradient_of_another_shape_is_refused(cuda):
    window = Window((2, 2), (2, 2))
    _, winners = kernels.max_pool2d_with_winners(cuda.asarray(normal(2, 4, 4, 3)), window)
    with refused("Max-pooling", "dy in the shape of y, (2, 2, 2, 3)", "got (3, 2, 2, 3)"):
        kernels.max_pool2d_input_gradient(cuda.asarray(normal(3, 2, 2, 3)), winners, window, (4, 4))


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 2), (5, 10), (40, 32), (9, 33), (19, 100), (70, 1000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels_dtype", [np.int32, np.uint8])
def test_loss_and_gradient_equal_the_definition(cuda, launched, rows, classes, smoothing, labels_dtype):
    logits = 20 * normal(rows, classes)
    labels = np.random.default_rng(2).integers(0, classes, rows).astype(labels_dtype)
    loss, gradient = kernels.softmax_cross_entropy(cuda.asarray(logits), cuda.asarray(labels), smoothing)
    z = logits.astype(np.float64)
    log_p = z - np.log(np.sum(np.exp(z - z.max()), axis=1, keepdims=True)) - z.max()
    t = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    np.testing.assert_allclose(to_numpy(loss), -np.sum(t * log_p) / rows, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(to_numpy(gradient), (np.exp(log_p) - t) / rows, rtol=1e-5, atol=1e-7)
    assert (gradient.dtype, loss.shape) == (cuda.dtype("float32"), ())
    assert launched == ["softmax_cross_entropy"]


def test_the_loss_of_ten_thousand_is_finite(cuda):
    logits = cuda.asarray(np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], np.float32))
    loss, gradient = kernels.softmax_cross_entropy(logits, cuda.asarray(np.array([1, 2])), 0.0)
    np.testing.assert_allclose(to_numpy(loss), (1e4 + np.log(3)) / 2, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(gradient), [[0.5, -0.5, 0], [1 / 6, 1 / 6, -1 / 3]], atol=1e-7)


OPTIMIZERS = [
    Momentum(0.1, 0.9, 0.01),
    Momentum(0.1, 0.9, 0.01, form="heavy-ball"),
    Momentum(0.1, 0.9, 0.01, form="nesterov"),
    Momentum(0, 0, 0),  # integers are floats to a kernel
    Adam(0.01, 0.1),
    Adam(0.01, beta1=0.0),
    AdamW(0.01, 0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("size", [1, 255, 600])
@pytest.mark.parametrize("on_device", [False, True])
def test_five_steps_of_an_optimizer_equal_its_formula(cuda, launched, optimizer, size, on_device):
    """Momentum to the bit: products are rounded before they are added."""
    mask = (np.arange(size) % 3 > 0).astype(np.float32)
    ours = theirs = cuda.asarray(normal(size))
    our_state = their_state = optimizer.init(ours)
    for step in range(5):
        gradient, lr_scale, decay_mask = cuda.asarray(normal(size, seed=step)), 1 / (step + 1), 0.5
        if on_device:
            lr_scale, decay_mask = cuda.asarray(np.asarray(lr_scale, np.float32)), cuda.asarray(mask)
        factors = {"lr_scale": lr_scale, "decay_mask": decay_mask}
        ours, our_state = optimizer_update(optimizer, ours, gradient, our_state, **factors)
        theirs, their_state = optimizer.update(theirs, gradient, their_state, **factors)
    rtol = 0 if isinstance(optimizer, Momentum) else 1e-5
    assert_close(ours, theirs, rtol=rtol, atol=rtol / 10)
    assert set(our_state) == set(their_state)
    for name, array in their_state.items():
        assert_close(our_state[name], array, rtol=rtol, atol=rtol / 10)
    assert len(launched) == 5


def batch_norm_arguments(shape, offset=3.0):
    channels = shape[-1]
    params = {"weight": normal(channels, seed=1), "bias": normal(channels, seed=2)}
    state = {"running_mean": normal(channels, seed=3), "running_var": 1 + normal(channels, seed=4) ** 2}
    return (5 * normal(*shape) + offset).astype(np.float32), params, state, normal(*shape, seed=5)


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3), (1024, 5), (1025, 5), (3000, 1), (65, 33), (20000, 16), (2, 40, 30, 70)]
)
def test_a_channels_sum_is_that_of_the_array_operations(cuda, launched, shape):
    x = normal(*shape)
    expected = x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64)
    actual = kernels.channel_sum(cuda.asarray(x))
    assert set(launched) == {"channel_sum"}
    assert len(launched) == (1 if x.size // shape[-1] <= 1024 else 2)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-5, atol=1e-6 * np.sqrt(x.size))
    assert_close(kernels.channel_sum(cuda.asarray(x)), actual)


@pytest.mark.parametrize(
    ("shape", "dtype", "step"), [((6, 2), "float64", 1), ((6, 4), "float32", 2), ((0, 4), "float32", 1)]
)
def test_other_sums_are_left_to_the_array_operations(cuda, launched, shape, dtype, step):
    x = cuda.asarray(normal(*shape), dtype)[:, ::step]
    np.testing.assert_allclose(to_numpy(kernels.channel_sum(x)), to_numpy(x).sum(axis=0), rtol=1e-6)
    assert launched == []


FORWARD, BACKWARD = (
    ["slab_moments", "moments", "normalize"],
    ["slab_gradients", "parameter_gradients", "input_gradient"],
)
SHAPES = [(2, 1), (2, 3), (7, 32), (65, 33), (3, 9, 5, 2), (2, 40, 30, 70)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_normalisation_equals_the_pure_formulas_in_float64(cuda, launched, shape, constant, relu):
    x, params, state, dy = batch_norm_arguments(shape)

    def run(where, dtype, normalize, normalize_by_state, backward):
        moved = [{name: where.asarray(array, dtype) for name, array in tree.items()} for tree in (params, state)]
        here, g = (where.asarray(array, dtype) for array in (x, dy))
        y, saved, after = (*normalize_by_state(here, *moved), state) if constant else normalize(here, *moved)
        dx, grads = backward(g, moved[0], saved)
        return [y, dx, *(grads[name] for name in params), *(after[name] for name in state)]

    functions = (
        lambda *a: kernels.batch_norm(by_batch, *a, 0.3, 1e-5, relu=relu),
        lambda *a: kernels.batch_norm_by_running_statistics(by_running_statistics, *a, 1e-5, relu=relu),
        lambda *a: kernels.batch_norm_gradients(gradients, *a, constant=constant, need_dx=True, relu=relu),
    )
    actual = run(cuda, "float32", *functions)
    assert launched == [*(["normalize_by_variance"] if constant else FORWARD), *BACKWARD]
    launched.clear()
    expected = run(backends.resolve("cpu"), "float64", *functions)
    assert not launched
    for a, b in zip(actual, expected, strict=True):
        # Of two rows, dx is what is left of terms that cancel.
        np.testing.assert_allclose(to_numpy(a), b, rtol=2e-5, atol=2e-5 * max(1, np.max(np.abs(b))))


def test_the_variance_of_a_large_mean_keeps_its_digits(cuda):
    x, params, state, _ = batch_norm_arguments((1000, 3), offset=3000.0)
    params, state = on(cuda, params, state)
    _, _, running = kernels.batch_norm(by_batch, cuda.asarray(x), params, state, 1.0, 1e-5)
    np.testing.assert_allclose(
        to_numpy(running["running_var"]), np.var(x.astype(np.float64), axis=0, ddof=1), rtol=1e-4
    )


def test_without_dx_only_the_parameters_have_gradients(cuda, launched):
    x, params, state, dy = batch_norm_arguments((6, 2))
    params, state = on(cuda, params, state)
    _, saved, _ = kernels.batch_norm(by_batch, cuda.asarray(x), params, state, 0.1, 1e-5)
    del launched[:]
    dx, _ = kernels.batch_norm_gradients(gradients, cuda.asarray(dy), params, saved, constant=False, need_dx=False)
    assert dx is None
    assert launched == BACKWARD[:2]


def test_sums_have_one_order(cuda):
    x, params, state, dy = batch_norm_arguments((3000, 5))
    params, state = on(cuda, params, state)

    def run():
        y, saved, after = kernels.batch_norm(by_batch, cuda.asarray(x), params, state, 0.1, 1e-5)
        arguments = {"constant": False, "need_dx": True}
        dx, grads = kernels.batch_norm_gradients(gradients, cuda.asarray(dy), params, saved, **arguments)
        return [y, dx, *grads.values(), *after.values()]

    for a, b in zip(run(), run(), strict=True):
        assert_close(a, b)


STEP = [
    *(*FORWARD, "max_pool2d", "softmax_cross_entropy", "channel_sum", "max_pool2d_input_gradient"),
    *(*BACKWARD, "channel_sum", "accuracy", "moving_average"),
]


def test_a_network_trains_on_the_kernels_as_on_the_pure_ones(cuda, launched):
    """Layers, loss and training step come to them without knowing."""
    layers = [Conv2D(4, 3), BatchNorm(), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
    network = Network(Sequential(layers), (8, 8, 2), device=cuda.device_name(), seed=0)
    images, labels = cuda.asarray(normal(6, 8, 8, 2)), cuda.asarray(np.arange(6, dtype=np.int32) % 3)
    optimizer, frozen = Momentum(0.1, weight_decay=0.01), cuda.asarray(np.ones(network.parameter_count, np.float32))
    step = make_step(network, optimizer, accuracy)
    start = TrainState(network.theta, network.state, optimizer.init(network.theta))

    def train():
        values = start
        for _ in range(3):
            values, figures = step(values, images, labels, decay_mask=frozen)
        return values.theta, values.state["bn1"]["running_var"], figures.loss

    ours = train()
    assert launched == 3 * STEP
    with kernels.using("pure"):
        pure = train()
    for a, b in zip(ours, pure, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-4, atol=1e-5)
    assert launched == 3 * STEP


X = normal(2, 6, 6, 3)
PAIRS = Window((2, 2), (2, 2))


@pytest.mark.parametrize(
    ("x", "dtype", "step", "window"),
    [
        (X, "float64", 1, PAIRS),
        (X, "float32", 2, PAIRS),
        (X[:0], "float32", 1, PAIRS),
        (X, "float32", 1, Window((2, 2), (1, 1), ((0, 2), (0, 0)))),  # windows in the padding
        (normal(1, 16, 16, 1), "float32", 1, Window((16, 16), (1, 1))),  # more taps than a byte counts
    ],
    ids=["float64", "strided", "empty", "padding", "taps"],
)
def test_the_pure_pooling_takes_what_the_kernels_cannot(cuda, launched, x, dtype, step, window):
    x = cuda.asarray(x, dtype)[:, :, ::step]
    y, winners = kernels.max_pool2d_with_winners(x, window)
    assert_close(kernels.max_pool2d(x, window), y)
    dx = kernels.max_pool2d_input_gradient(cuda.xp.ones_like(y), winners, window, x.shape[1:3])
    assert dx.shape == x.shape
    assert launched == []


def test_the_pure_loss_and_normalisation_take_what_the_kernels_cannot(cuda, launched):
    x, params, state, dy = batch_norm_arguments((6, 2))
    labels = cuda.asarray(np.array([0, 1, 1, 0, 1, 0]))
    params, state = on(cuda, params, state)
    for array in (cuda.asarray(x, "float64"), cuda.asarray(normal(6, 4))[:, ::2]):
        kernels.softmax_cross_entropy(array, labels, 0.0)
        _, saved, _ = kernels.batch_norm(by_batch, array, params, state, 0.1, 1e-5)
        kernels.batch_norm_gradients(gradients, cuda.asarray(dy), params, saved, constant=False, need_dx=True)
        kernels.batch_norm_by_running_statistics(by_running_statistics, array, params, state, 1e-5)
    assert set(launched) <= {"channel_sum"}


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.1, amsgrad=True)], ids=str)
def test_an_optimizer_without_a_kernel_updates_itself(cuda, launched, optimizer):
    theta, gradient = cuda.asarray(normal(5)), cuda.asarray(normal(5, seed=1))
    arguments = (theta, gradient, optimizer.init(theta))
    actual = optimizer_update(optimizer, *arguments, lr_scale=1.0, decay_mask=1.0)
    assert_close(actual[0], optimizer.update(*arguments)[0])
    assert launched == []


def test_an_optimizer_of_another_class_is_left_alone(cuda, launched):
    class Mine(Momentum):
        def update(self, theta, gradient, state, *, lr_scale=1.0, decay_mask=1.0):
            return theta, state

    theta = cuda.asarray(normal(5))
    optimizer = Mine(0.1)
    assert optimizer_update(optimizer, theta, theta, optimizer.init(theta), lr_scale=1.0, decay_mask=1.0)[0] is theta
    assert launched == []


def test_factors_of_another_dtype_are_left_to_the_formula(cuda, launched):
    theta, optimizer = cuda.asarray(normal(5)), Momentum(0.1)
    lr_scale = cuda.asarray(np.asarray(0.5))
    optimizer_update(optimizer, theta, theta, optimizer.init(theta), lr_scale=lr_scale, decay_mask=1.0)
    assert launched == []


@pytest.mark.parametrize(("choice", "expected"), [("fastest", ["max_pool2d", "softmax_cross_entropy"]), ("pure", [])])
def test_the_kernels_serve_unless_only_pure_ones_may(cuda, launched, choice, expected):
    with kernels.using(choice):
        kernels.max_pool2d(cuda.asarray(X), PAIRS)
        kernels.softmax_cross_entropy(cuda.asarray(normal(2, 2)), cuda.asarray(np.array([0, 1])), 0.0)
    assert launched == expected


@given(rows=st.integers(1, 2**30), channels=st.integers(1, 4096))
def test_slabs_cover_every_row_once(cuda, rows, channels):
    module = import_module(MODULE)
    (across, down), (lanes, strands), slab_rows = module.slabs(rows, channels)
    assert lanes * strands == module.THREADS
    assert across * lanes >= channels > (across - 1) * lanes
    assert down * slab_rows >= rows > (down - 1) * slab_rows
    assert down <= 1024
    assert (down + 1) * slab_rows < 2**31


def test_indices_stay_within_32_bits(cuda):
    module = import_module(MODULE)
    most = module.MOST_ELEMENTS
    assert module.blocks(most, module.THREADS) * module.THREADS < 2**31
    for size, served in [(1, True), (most, True), (most + 1, False), (0, False)]:
        array = SimpleNamespace(dtype=np.dtype("float32"), flags=SimpleNamespace(c_contiguous=True), size=size)
        assert module.reads(array) is served
    array.size, array.shape = most, (1, 2**15, 2**15, 1)
    assert not module.serves("max_pool2d", array, Window((2, 2), (1, 1), ((1, 1), (1, 1))))
    assert module.serves("max_pool2d", array, Window((2, 2), (2, 2)))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (256, 1), (257, 2), (512, 2)])
def test_blocks_cover_every_element(cuda, count, expected):
    assert import_module(MODULE).blocks(count, 256) == expected


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (5, 10), (300, 3), (1000, 40)])
@pytest.mark.parametrize("labels_dtype", [np.int32, np.int64])
def test_accuracy_is_the_share_of_hits(cuda, launched, rows, classes, labels_dtype):
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 4, (rows, classes)).astype(np.float32)  # of equal ones the first is meant
    logits[rng.random(logits.shape) < 0.02] = np.nan
    labels = rng.integers(0, classes, rows).astype(labels_dtype)
    share = kernels.accuracy(cuda.asarray(logits), cuda.asarray(labels), cuda.xp.float32)
    assert (share.shape, share.dtype) == ((), np.float32)
    assert float(share) == np.float32(np.mean(logits.argmax(axis=1) == labels))
    assert launched == ["accuracy"]
