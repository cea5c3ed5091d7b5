"""Small real digits, so that learning means something and takes no time."""

import pytest

from xpnet.datasets import Dataset, load


@pytest.fixture(scope="session")
def digits():
    """300 training and 100 test images of MNIST."""
    mnist = load("mnist")
    return Dataset(
        "digits",
        mnist.train_inputs[:300],
        mnist.train_targets[:300],
        mnist.test_inputs[:100],
        mnist.test_targets[:100],
        mnist.class_names,
    )
