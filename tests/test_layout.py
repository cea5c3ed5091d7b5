import gc
import weakref

import numpy as np

from tests.helpers import assert_close
from xpnet.layout import Layout, Slot, map_tree, walk


def tree_of(backend):
    def array(start, shape):
        return backend.asarray(np.arange(start, start + np.prod(shape), dtype=np.float32).reshape(shape))

    return {
        "conv1": {"weight": array(0, (2, 3)), "bias": array(6, (2,))},
        "relu1": {},
        "block1": {"dense1": {"weight": array(8, (1, 4))}},
    }


def test_theta_holds_every_tensor_in_order_and_row_by_row(backend):
    tree = tree_of(backend)
    layout = Layout.of(tree)
    assert layout.size == 12
    assert layout.slots() == {
        "conv1.weight": Slot(0, 6, (2, 3)),
        "conv1.bias": Slot(6, 8, (2,)),
        "block1.dense1.weight": Slot(8, 12, (1, 4)),
    }
    theta = layout.flatten(tree)
    assert_close(theta, backend.asarray(np.arange(12, dtype=np.float32)))
    unflattened = layout.unflatten(theta)
    assert unflattened.keys() == tree.keys()
    for (name, actual), (expected_name, expected) in zip(walk(unflattened), walk(tree), strict=True):
        assert name == expected_name
        assert_close(actual, expected)


def test_flatten_goes_by_name_since_jit_returns_sorted_trees(backend):
    tree = tree_of(backend)
    layout = Layout.of(tree)
    shuffled = {"relu1": {}, "block1": tree["block1"], "conv1": dict(reversed(tree["conv1"].items()))}
    assert_close(layout.flatten(shuffled), layout.flatten(tree))


def test_unflatten_gives_views_where_the_library_has_them():
    layout, theta = Layout.of({"weight": np.zeros((2, 2))}), np.zeros(4)
    layout.unflatten(theta)["weight"][1, 0] = 5.0
    assert theta.tolist() == [0, 0, 5, 0]


def test_map_tree_keeps_the_names():
    assert map_tree(lambda number: 2 * number, {"a": {"b": 1}, "c": {}, "d": 3}) == {"a": {"b": 2}, "c": {}, "d": 6}


def test_views_do_not_hold_theta_once_they_are_gone():
    """A training step makes a θ: held until the garbage collector comes, hundreds of them would fill the memory."""
    layout = Layout.of({"dense1": {"weight": np.zeros((2, 3))}})
    theta = np.zeros(6)
    watch = weakref.ref(theta)
    gc.disable()
    try:
        layout.unflatten(theta)
        del theta
        assert watch() is None
    finally:
        gc.enable()
