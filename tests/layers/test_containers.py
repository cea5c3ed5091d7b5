from dataclasses import dataclass

import numpy as np
import pytest

from tests.helpers import assert_close, refused
from xpnet.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Residual, Sequential
from xpnet.layers.base import Backward, Forward
from xpnet.layers.containers import map_leaves
from xpnet.layout import map_tree
from xpnet.network import Network


def names(layer):
    return [name for name, _ in layer.layers]


def test_layers_are_named_by_kind_and_count():
    layers = [Conv2D(2, 3), ReLU(), ("head", Dense(2)), Conv2D(2, 3), Sequential([ReLU()])]
    assert names(Sequential(layers)) == ["conv1", "relu1", "head", "conv2", "block1"]


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ([("a", ReLU()), ("a", ReLU())], "'a' (2 times)"),
        ([("relu1", Dense(1)), ReLU()], "'relu1' (2 times)"),
        ([("", ReLU())], "''"),
        ([("a.b", ReLU())], "'a.b'"),
        ([("a\n", ReLU())], r"'a\n'"),
    ],
)
def test_names_must_be_distinct_printable_and_without_dots(layers, name):
    with refused("Sequential", "distinct, printable names without dots", f"got {name}", "unique name"):
        Sequential(layers)


def test_no_layers():
    with refused("Sequential", "at least one layer", "got none"):
        Sequential([])


def test_layers_that_are_not_in_a_list():
    with refused("Sequential", "one list of layers", "got several arguments", "list"):
        Sequential(Dense(3), ReLU())
    with refused("Sequential: expected a list of layers, got ReLU."):
        Sequential(ReLU())


@pytest.mark.parametrize("item", [ReLU, 5, "relu", ("relu", 5), (1, ReLU()), ("relu", ReLU(), 1)])
def test_what_is_no_layer(item):
    with refused("Sequential", "layers or (name, layer) pairs", f"got {item!r}"):
        Sequential([item])


def test_chain_rule_by_hand():
    double, triple = ({"weight": np.array([[factor]]), "bias": np.zeros(1)} for factor in (2.0, 3.0))
    layer = Sequential([("double", Dense(1)), ReLU(), ("triple", Dense(1))])
    params, state = {"double": double, "relu1": {}, "triple": triple}, {"double": {}, "relu1": {}, "triple": {}}
    y, cache, new_state = layer.forward(params, state, np.array([[1.0], [-1.0]]), train=True)
    assert (y.tolist(), new_state) == ([[6.0], [0.0]], state)
    dx, grads = layer.backward(params, cache, np.ones((2, 1)))
    assert dx.tolist() == [[6.0], [0.0]]
    assert grads["double"]["weight"].tolist() == [[3.0]]
    assert grads["triple"]["bias"].tolist() == [2.0]


class Refusing(Layer):
    """Passes forward and refuses to go back, for layers whose dx nobody needs."""

    prefix = "refusing"

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, state, x, *, train=False, key=None):
        return Forward(x, {}, state)

    def backward(self, params, cache, dy, *, need_dx=True) -> Backward:
        raise AssertionError("backward of a layer before the first with parameters")


def test_without_need_dx_backward_ends_at_the_first_layer_with_parameters():
    layer = Sequential([Refusing(), ReLU(), Dense(2), ReLU()])
    params, state, _ = layer.init(np.random.default_rng(0), (3,))
    y, cache, _ = layer.forward(params, state, np.ones((1, 3)), train=True)
    dx, grads = layer.backward(params, cache, y, need_dx=False)
    assert dx is None
    assert {name: set(tensors) for name, tensors in grads.items()} == {
        "refusing1": set(), "relu1": set(), "dense1": {"weight", "bias"}, "relu2": set(),
    }  # fmt: skip
    with pytest.raises(AssertionError, match="backward of a layer before"):
        layer.backward(params, cache, y)


def test_the_first_layer_with_parameters_is_asked_for_no_dx():
    asked = []

    class Asked(Dense):
        def backward(self, params, cache, dy, *, need_dx=True):
            asked.append((self.units, need_dx))
            return Backward(dy, {})

    layer = Sequential([Asked(3), Asked(3), Sequential([Asked(3)])])
    params, state, _ = layer.init(np.random.default_rng(0), (3,))
    cache = layer.forward(params, state, np.ones((1, 3)), train=True).cache
    layer.backward(params, cache, np.ones((1, 3)), need_dx=False)
    assert asked == [(3, True), (3, True), (3, False)]


def test_without_parameters_and_need_dx_there_is_nothing_to_do():
    layer = Sequential([ReLU(), Flatten()])
    cache = layer.forward(
        {"relu1": {}, "flatten1": {}}, {"relu1": {}, "flatten1": {}}, np.ones((1, 2)), train=True
    ).cache
    params = {"relu1": {}, "flatten1": {}}
    assert layer.backward(params, cache, np.ones((1, 2)), need_dx=False) == (None, params)


def test_trace_gives_every_inner_output_by_dotted_name_and_the_own_at_last():
    layer = Sequential([ReLU(), ("block", Sequential([MaxPool2D(2), Flatten()])), Dense(2)])
    params, state, _ = layer.init(np.random.default_rng(0), (2, 2, 3))
    x = np.random.default_rng(1).normal(size=(1, 2, 2, 3))
    trace = list(layer.trace(params, state, x))
    assert [name for name, _ in trace] == ["relu1", "block.pool1", "block.flatten1", "block", "dense1", ""]
    outputs = dict(trace)
    assert_close(outputs["relu1"], np.maximum(x, 0))
    assert_close(outputs["block"], outputs["block.flatten1"])
    assert_close(outputs[""], layer.forward(params, state, x).y)


def wrapped():
    return Sequential([ReLU(), ("stage", Sequential([ReLU(), ("conv", Conv2D(2, 3))]))])


def test_errors_name_the_whole_path_wherever_they_arise():
    layer, wrong = wrapped(), "Conv2D 'stage.conv': expected images (N, H, W, C), got shape (N, 9)."
    with refused(wrong):
        layer.init(np.random.default_rng(0), (9,))
    with refused(wrong):
        layer.output_shape((9,))
    params, state, _ = layer.init(np.random.default_rng(0), (4, 4, 1))
    with refused(wrong):
        layer.forward(params, state, np.zeros((1, 9)))
    with refused(wrong):
        list(layer.trace(params, state, np.zeros((1, 9))))
    with refused("Conv2D 'stage.conv': expected 1 channels, got 2."):
        layer.forward(params, state, np.zeros((1, 4, 4, 2)))
    cache = layer.forward(params, state, np.zeros((1, 4, 4, 1)), train=True).cache
    with refused("Sequential", "dy in the shape of y, (1, 2, 2, 2)", "got (1, 2, 2, 3)"):
        layer.backward(params, cache, np.zeros((1, 2, 2, 3)))
    with refused("Sequential", "dy to be float32 of numpy on cpu as the parameter 'stage.conv.weight'"):
        layer.backward(map_tree(np.float32, params), cache, np.zeros((1, 2, 2, 2)))


def test_sublayers_know_their_input_shape():
    layer = Sequential([Conv2D(2, 3), MaxPool2D(2), Flatten()])
    assert [(name, shape) for name, _, shape in layer.sublayers((6, 6, 1))] == [
        ("conv1", (6, 6, 1)), ("pool1", (4, 4, 2)), ("flatten1", (2, 2, 2)),
    ]  # fmt: skip
    assert list(Dense(2).sublayers((3,))) == []


def test_residual_adds_the_shortcut():
    x = np.array([[-1.0, 2.0]])
    assert Residual(ReLU()).forward({"branch": {}}, {"branch": {}}, x).y.tolist() == [[-1.0, 4.0]]
    both = {"branch": {}, "shortcut": {}}
    assert Residual(ReLU(), ReLU()).forward(both, both, x).y.tolist() == [[0.0, 4.0]]


def test_residual_shapes_that_do_not_agree():
    block = Sequential([("block1", Residual(Conv2D(64, 3, stride=2, padding=1)))])
    with refused(
        "Residual 'stage2.block1': the branch gives (16, 16, 64) but the shortcut gives (32, 32, 32). "
        "Add a projection shortcut."
    ):
        Sequential([("stage2", block)]).init(np.random.default_rng(0), (32, 32, 32))
    with refused("Residual 'residual1': the branch gives (4, 4, 2) but the shortcut gives (4, 4, 3). Make them agree."):
        Sequential([Residual(Conv2D(2, 1), Conv2D(3, 1))]).init(np.random.default_rng(0), (4, 4, 1))
    with refused("Conv2D 'residual1.shortcut': window 9x9 is larger than its padded input 4x4."):
        Sequential([Residual(ReLU(), Conv2D(1, 9))]).init(np.random.default_rng(0), (4, 4, 1))


def test_features_inside_a_residual_have_dotted_names():
    layer = Sequential([("block", Residual(Sequential([Dense(2), ReLU()]), Dense(2)))])
    params, state, _ = layer.init(np.random.default_rng(0), (3,))
    x = np.ones((1, 3))
    outputs = dict(layer.trace(params, state, x))
    assert list(outputs) == ["block.branch.dense1", "block.branch.relu1", "block.branch", "block.shortcut", "block", ""]
    np.testing.assert_allclose(outputs["block"], outputs["block.branch"] + outputs["block.shortcut"])
    np.testing.assert_allclose(outputs[""], layer.forward(params, state, x).y)


def test_a_function_is_applied_to_every_leaf_with_its_path():
    seen = []

    def widened(name, leaf):
        seen.append(name)
        return Dense(7) if isinstance(leaf, Dense) else leaf

    def network(units):
        branch = Sequential([Dense(units), ReLU()])
        return Sequential([Dense(units), ("a", Residual(branch, Dense(units))), Residual(ReLU())])

    assert map_leaves(widened, network(2)) == network(7)
    assert sorted(seen) == ["a.branch.dense1", "a.branch.relu1", "a.shortcut", "dense1", "residual1.branch"]
    assert map_leaves(lambda name, leaf: Sequential([leaf]), ReLU()) == Sequential([ReLU()])


def test_a_function_is_applied_within_subclasses_of_residual_too():
    class Block(Residual):
        pass

    assert map_leaves(lambda name, leaf: Dense(1), Block(ReLU())) == Block(Dense(1))


def test_each_layer_is_checked_once_a_pass_and_not_by_the_unchecked_functions(monkeypatch):
    checked, check_input = [], Layer.check_input

    def noted(self, *arguments, **settings):
        checked.append(type(self).__name__)
        return check_input(self, *arguments, **settings)

    monkeypatch.setattr(Layer, "check_input", noted)
    layer = Sequential([Dense(3), ReLU(), Residual(Sequential([Dense(3)]))])
    params, state, _ = layer.init(np.random.default_rng(0), (2,))
    x = np.ones((1, 2))
    y, cache, _ = layer.unchecked_forward(params, state, x, train=True)
    layer.unchecked_backward(params, cache, y)
    assert checked == []
    layer.backward(params, layer.forward(params, state, x, train=True).cache, y)
    assert sorted(checked) == ["Dense", "Dense", "ReLU", "Residual", "Sequential", "Sequential"]


class Scale(Layer):
    """A layer without checks of its own, as the README writes one."""

    prefix = "scale"

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, state, x, *, train=False, key=None):
        return Forward(x * params["weight"], {"x": x} if train else None, state)

    def backward(self, params, cache, dy, *, need_dx=True):
        return Backward(dy * params["weight"] if need_dx else None, {"weight": (dy * cache["x"]).sum(0)})


class HalfScale(Scale):
    """A layer that changes what the one it inherits from computes."""

    def forward(self, params, state, x, *, train=False, key=None):
        return super().forward(params, state, x / 2, train=train, key=key)


def test_a_layer_of_ones_own_is_checked_as_xpnets_are():
    params, x = {"weight": np.ones(3)}, np.ones((2, 3))
    y, cache, _ = HalfScale().forward(params, {}, x, train=True)
    np.testing.assert_array_equal(y, x / 2)
    with refused("HalfScale: backward needs the cache of forward(..., train=True), got None."):
        HalfScale().backward(params, None, y)
    with refused("HalfScale", "dy in the shape of y, (2, 3)", "got (2, 2)"):
        HalfScale().backward(params, cache, y[:, :2])
    with refused("HalfScale", "x to be float64 of numpy on cpu as its parameters", "got float32 of numpy"):
        HalfScale().forward(params, {}, x.astype(np.float32))
    with refused("Scale 's': expected x to be float64"):
        Sequential([("s", Scale())]).forward({"s": params}, {"s": {}}, x.astype(np.float32))
    with refused("Scale", "an array of NumPy, CuPy, PyTorch or JAX", "got list"):
        Scale().forward(params, {}, x.tolist())


FAULTS = {
    "left out": lambda grads: {"weight": grads["weight"]},
    "None": lambda grads: {**grads, "bias": None},
    "another shape": lambda grads: {**grads, "bias": grads["bias"][:2]},
    "turned": lambda grads: {**grads, "weight": grads["weight"].T},
    "nothing": lambda grads: None,
}


@dataclass(frozen=True)
class Faulty(Dense):
    """A layer whose gradients are not those of its parameters."""

    fault: str = "left out"

    def backward(self, params, cache, dy, *, need_dx=True):
        dx, grads = super().backward(params, cache, dy, need_dx=need_dx)
        return Backward(dx, FAULTS[self.fault](grads))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("left out", "'bias' of shape (3,), got none."),
        ("None", "'bias' of shape (3,), got none."),
        ("another shape", "'bias' of shape (3,), got shape (2,)."),
        ("turned", "'weight' of shape (3, 4), got shape (4, 3)."),
        ("nothing", "'weight' of shape (3, 4), got none."),
    ],
)
def test_gradients_that_are_not_those_of_the_parameters_are_refused_by_name(backend, fault, expected):
    network = Network([("block", Sequential([("own", Faulty(3, fault=fault))]))], (4,)).move(backend)
    x, targets = backend.asarray(np.ones((2, 4), np.float32)), backend.asarray(np.zeros(2, np.int32))
    with refused("Layer 'block.own'", f"backward to give a gradient of {expected} Correct its backward."):
        network.loss_and_gradient(network.theta, network.state, x, targets)
