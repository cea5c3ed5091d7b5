"""Every layer's backward pass against central differences, on every array library."""

import numpy as np

from tests.helpers import assert_is_gradient
from tests.layers.runs import start
from xpnet.backend import to_numpy
from xpnet.layers.examples import Example
from xpnet.layout import Layout


def test_backward_is_the_derivative_of_forward(example: Example, backend):
    run = start(example, backend)
    layout, batch, dy = Layout.of(run.params), to_numpy(run.x), to_numpy(run.dy)

    def loss(x=batch, theta=None):
        params = run.params if theta is None else layout.unflatten(backend.asarray(theta))
        y = example.layer.forward(params, run.state, backend.asarray(x), train=True, key=run.key).y
        return float(np.sum(to_numpy(y) * dy))

    dx, grads = run.backward(run.forward().cache)
    values, gradients = {}, {}
    if example.layer.index_count is None:
        values["x"], gradients["x"] = batch, dx
    else:
        assert not np.any(to_numpy(dx))
    if layout.size:
        values["theta"], gradients["theta"] = to_numpy(layout.flatten(run.params)), layout.flatten(grads)
    assert_is_gradient(loss, values, gradients)
