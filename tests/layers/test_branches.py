import numpy as np
import pytest

from tests.helpers import assert_close, refused
from tests.layers.runs import start
from xpnet.layers import (
    Add,
    AvgPool2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Identity,
    MaxPool2D,
    ReLU,
    Residual,
    ScaleBy,
    Sequential,
    Sigmoid,
    SpatialDropout,
    StochasticDepth,
    Tanh,
)
from xpnet.layers.containers import map_leaves
from xpnet.layers.examples import Example
from xpnet.layout import walk
from xpnet.random import make_key
from xpnet.serialization import from_config, to_config

X = np.array([[-1.0, 2.0]])


def run(layer, x=X, **settings):
    params, state, _ = layer.init(np.random.default_rng(0), x.shape[1:])
    return params, layer.forward(params, state, x, **settings)


def test_add_of_three():
    _, (y, cache, _) = run(Add([Identity(), ReLU(), Identity()]), train=True)
    assert y.tolist() == [[-2, 6]]
    params = {"identity1": {}, "relu1": {}, "identity2": {}}
    assert Add([Identity(), ReLU(), Identity()]).backward(params, cache, np.ones((1, 2))).dx.tolist() == [[2, 3]]


def test_concat_in_the_order_of_the_branches():
    layer = Concat([("high", ReLU()), ("all", Identity())])
    params, (y, cache, _) = run(layer, train=True)
    assert y.tolist() == [[0, 2, -1, 2]]
    assert layer.backward(params, cache, np.array([[1.0, 10.0, 100.0, 1000.0]])).dx.tolist() == [[100, 1010]]


def test_scale_by_one_number_for_each_channel():
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    layer = ScaleBy(GlobalAvgPool2D())
    params, (y, cache, _) = run(layer, x, train=True)
    np.testing.assert_array_equal(y, x * [3.0, 4.0])
    dx = layer.backward(params, cache, np.ones_like(x)).dx
    np.testing.assert_array_equal(dx, np.broadcast_to([3.0 + 12 / 4, 4.0 + 16 / 4], x.shape))


def test_a_residual_is_the_sum_of_its_branch_and_an_identity(backend):
    branch = Sequential([("a", Conv2D(2, 3, padding=1)), Tanh()])
    ours, same = (start(Example(layer, (4, 3, 2)), backend) for layer in (Residual(branch), Add([branch, Identity()])))
    same.params = {"block1": ours.params["branch"], "identity1": {}}
    (y, cache, _), (expected, expected_cache, _) = same.forward(), ours.forward()
    assert_close(y, expected)
    assert_close(same.backward(cache).dx, ours.backward(expected_cache).dx)


def conv(filters):
    return Sequential([Conv2D(filters, 3, padding=1), ReLU()])


def u_net(depth, filters):
    """Contract, go on one level below, expand, and join what was before with what comes back."""
    if depth == 0:
        return conv(filters)
    below = [MaxPool2D(2), ("level", u_net(depth - 1, 2 * filters)), ConvTranspose2D(filters, 2, stride=2)]
    return Sequential(
        [("in", conv(filters)), ("skip", Concat([Identity(), Sequential(below)])), ("out", conv(filters))]
    )


def test_a_u_net_can_be_said():
    layer = u_net(2, 3)
    names = [name for name, _ in walk(layer.init(np.random.default_rng(0), (8, 8, 1)).params)]
    assert "skip.block1.level.skip.block1.level.conv1.weight" in names
    assert layer.output_shape((8, 12, 1)) == (8, 12, 3)
    shapes = {part.name: part.layer.output_shape(part.input_shape) for part in layer.parts((8, 8, 1))}
    assert shapes["skip"] == (8, 8, 6)
    with refused(
        "Concat 'skip': the branch 'identity1' gives (9, 8, 3) but 'block1' gives (8, 8, 3). Make them agree."
    ):
        layer.output_shape((9, 8, 1))


def test_an_inception_module_can_be_said():
    layer = Concat(
        [
            Conv2D(2, 1),
            Sequential([Conv2D(1, 1), ReLU(), Conv2D(3, 3, padding=1)]),
            Sequential([Conv2D(1, 1), ReLU(), Conv2D(4, 5, padding=2)]),
            Sequential([MaxPool2D(3, stride=1, padding=1), Conv2D(5, 1)]),
        ]
    )
    assert layer.output_shape((7, 7, 8)) == (7, 7, 14)
    assert [name for name, _ in layer.branches] == ["conv1", "block1", "block2", "block3"]


def test_branches_that_do_not_join_are_refused_by_name():
    with refused("Add 'sum': the branch 'dense1' gives (3,) but 'dense2' gives (4,). Make them agree."):
        Sequential([("sum", Add([Dense(3), Dense(4)]))]).output_shape((5,))
    with refused("Concat: the branch 'pool1' gives (2, 2, 3) but 'flatten1' gives (48,)."):
        Concat([MaxPool2D(2), Flatten()]).output_shape((4, 4, 3))
    with refused("Concat: the branch 'pool1' gives (2, 2, 3) but 'avg_pool1' gives (1, 1, 3)."):
        Concat([MaxPool2D(2), AvgPool2D(4)]).output_shape((4, 4, 3))
    with refused("ScaleBy: the branch gives (2,) for (4, 4, 3). Let it give (3,) or the shape of its input."):
        ScaleBy(Sequential([GlobalAvgPool2D(), Dense(2)])).output_shape((4, 4, 3))
    with refused("Dense 'dense1': expected vectors"):
        Add([Dense(3)]).output_shape((4, 4, 3))


@pytest.mark.parametrize("kind", [Add, Concat])
def test_what_is_no_list_of_layers(kind):
    for wrong, message in (
        ([], "expected at least one layer, got none."),
        (ReLU(), "expected a list of layers, got ReLU."),
        ([3], "expected layers or (name, layer) pairs, got 3."),
        ([("a", ReLU()), ("a", ReLU())], "expected distinct, printable names without dots, got 'a' (2 times)."),
    ):
        with refused(f"{kind.__name__}: {message}"):
            kind(wrong)


def test_a_function_is_applied_to_every_leaf_of_branches():
    def network(units):
        squeeze = ScaleBy(Sequential([Dense(units), Sigmoid()]))
        return Concat([Add([("a", Dense(units)), ("b", squeeze)]), Residual(ReLU())])

    def widened(name, leaf):
        return Dense(7) if isinstance(leaf, Dense) else leaf

    assert map_leaves(widened, network(2)) == network(7)
    assert from_config(to_config(network(2))) == network(2)


def test_each_branch_draws_its_own_mask():
    layer = Concat([Dropout(0.5), Dropout(0.5)])
    _, (y, _, _) = run(layer, np.ones((4, 8)), train=True, key=make_key(0))
    assert (y[:, :8] != y[:, 8:]).any()


def test_features_of_branches_have_dotted_names():
    layer = Concat([Identity(), Sequential([Dense(2), ReLU()])])
    params, state, _ = layer.init(np.random.default_rng(0), (2,))
    outputs = dict(layer.trace(params, state, X))
    assert list(outputs) == ["identity1", "block1.dense1", "block1.relu1", "block1", ""]
    np.testing.assert_array_equal(outputs[""], layer.forward(params, state, X).y)


def test_whole_channels_and_whole_examples_are_dropped():
    x = np.ones((40, 5, 4, 30))
    for layer, axes in ((SpatialDropout(0.25), (1, 2)), (StochasticDepth(0.25), (1, 2, 3))):
        y = layer.forward({}, {}, x, train=True, key=make_key(1)).y
        assert set(np.unique(y)) == {0, 1 / 0.75}
        np.testing.assert_array_equal(y.min(axis=axes), y.max(axis=axes))
        assert 0.1 < np.mean(y.min(axis=axes) == 0) < 0.4
        with refused(f"{type(layer).__name__}", "p, the probability of dropping, in [0, 1)", "got 1"):
            type(layer)(1)
