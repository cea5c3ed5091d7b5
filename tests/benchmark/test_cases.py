import json

import numpy as np
import pytest

from xpnet import models
from xpnet.benchmark.cases import CPU_MODELS, GPU_MODELS, PLANS, Case, find_cases
from xpnet.errors import InputError
from xpnet.layers import Conv2D, Dropout


def test_what_is_measured_unless_told_otherwise():
    sizes = {model: [case.batch_size for case in find_cases(model)] for model in CPU_MODELS}
    assert sizes == {
        "mnist_starter": [16, 128, 512],
        "lenet5": [128],
        "cifar10_starter": [16, 128],
        "cnn_32_64": [128],
        "fer_cnn": [64],
        "resnet18-small": [32],
        "depthwise": [32],
    }
    assert set(GPU_MODELS) - set(CPU_MODELS) == {"resnet50"}
    assert set(PLANS) - set(GPU_MODELS) == {"mlp"}


def test_resnet18_is_the_one_for_small_images():
    (case,) = find_cases("resnet18-small", (2,))
    convolutions = [leaf.layer for leaf in case.layer.leaves(case.input_shape) if isinstance(leaf.layer, Conv2D)]
    assert case.input_shape == (32, 32, 3)
    assert (convolutions[0].kernel_size, convolutions[0].stride) == (3, 1)
    assert case.layer.output_shape(case.input_shape) == (10,)


@pytest.mark.parametrize("model", ["resnet18-small", "fer_cnn", "depthwise"])
def test_a_case_survives_json_with_equal_weights_and_batch(model):
    (case,) = find_cases(model, (2,))
    copy = Case.from_json(json.loads(json.dumps(case.to_json())))
    assert copy.to_json() == case.to_json()
    np.testing.assert_array_equal(copy.network().theta, case.network().theta)
    np.testing.assert_array_equal(copy.batch()[0], case.batch()[0])
    np.testing.assert_array_equal(copy.batch()[1], case.batch()[1])


def test_what_is_compared_is_the_same_without_dropout_in_float64():
    (case,) = find_cases("fer_cnn", (2,))
    probabilities = [
        [leaf.layer.p for leaf in one.layer.leaves(one.input_shape) if isinstance(leaf.layer, Dropout)]
        for one in (case, case.comparable())
    ]
    assert probabilities == [[0.5, 0.5], [0.0, 0.0]]
    assert case.comparable().layer == models.create("fer_cnn", dropout=0.0).layer
    assert [one.comparable().batch_size for one in find_cases("fer_cnn", (4, 64))] == [4, 8]
    assert case.comparable().network().theta.dtype == np.float64
    assert case.optimizer == case.comparable().optimizer == "adam"


@pytest.mark.parametrize(("model", "in_float32"), [("mnist_starter", 1e-3), ("resnet50", 0.1)])
def test_kernels_of_float32_are_compared_as_closely_as_rounding_allows(model, in_float32):
    (case,) = find_cases(model, (2,))
    assert case.tolerances() == {"float64": 1e-3, "float32": in_float32}
    assert case.comparable("float32").dtype == "float32"


def test_unknown_model_is_refused():
    with pytest.raises(InputError, match=r"got 'mnist_started'. Did you mean 'mnist_starter'\?$"):
        find_cases("mnist_started")
