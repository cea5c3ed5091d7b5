"""What a training step makes a GPU do: few launches, no wait, and no copy but the numbers of its batch."""

import numpy as np
import pytest

from tests.emulated_cuda.records import IS_EMULATED, recorded
from tests.training.runs import make_trainer
from xpnet import kernels
from xpnet.backend import resolve
from xpnet.losses import Huber, MeanAbsoluteError, MeanSquaredError
from xpnet.shapes import Window

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")

OPTIONS = {"hidden": (8,), "dropout": 0.5, "batch_norm": True}
MLP = {"model": "mlp", "model_options": OPTIONS, "optimizer": "adam"}
REGRESSIONS = [MeanSquaredError(), MeanAbsoluteError(), Huber(0.5)]
AUGMENTED = {"crop_padding": 2, "flip": True, "cutout": 7}


@pytest.fixture
def on_gpu(digits):
    """A trainer on the device whose kernels are compiled."""

    def make(settings):
        trainer = make_trainer(digits, device="cuda", **settings)
        trainer.step()
        trainer.step()
        return trainer

    return make


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 31),
        (AUGMENTED, 35),
        ({"ema": 0.9}, 32),
        ({"mixup": 1.0}, 39),
        ({"cutmix": 1.0}, 48),
        ({"accumulate": 4}, 135),
        ({"precision": "float16"}, 90),
        (MLP, 26),
        ({**MLP, **AUGMENTED}, 29),
        ({**MLP, "precision": "float16"}, 71),
    ],
    ids=str,
)
def test_a_step_is_few_launches_and_nobody_waits(on_gpu, settings, most):
    trainer = on_gpu(settings)
    with recorded() as record:
        trainer.step()
    assert record.count("launch") + record.count("set") <= most, str(record)
    assert record.count("wait") == record.count("to host") == 0, str(record)
    assert record.count("to device") <= 1, str(record)


@pytest.mark.parametrize(
    ("settings", "copies"), [({"validation": 0}, 1), ({"validation": 0, "precision": "float16"}, 1), ({}, 2)], ids=str
)
def test_a_report_is_one_copy_and_one_of_each_part_that_is_evaluated(on_gpu, settings, copies):
    """One of everything would have to come behind the evaluation, whose time would be taken for the training's."""
    trainer = on_gpu({"iterations": 6, "report_every": 6, **settings})
    with recorded() as record:
        trainer.run()
    assert record.count("to device") == 4, str(record)  # the batches of the four steps that were left
    assert record.count("to host") == copies, str(record)
    assert record.count("wait") <= copies, str(record)


@pytest.mark.parametrize("loss", REGRESSIONS, ids=lambda loss: type(loss).__name__)
def test_no_loss_of_real_targets_waits(loss):
    cuda, rng = resolve("cuda"), np.random.default_rng(0)
    outputs, targets = (cuda.asarray(rng.normal(size=(6, 2)), "float32") for _ in range(2))
    loss.backward(loss.forward(outputs, targets).cache)
    with recorded() as record:
        loss.backward(loss.forward(outputs, targets).cache)
    assert record.count("wait") == record.count("to host") == record.count("to device") == 0, str(record)


def test_a_convolution_of_single_pixels_is_three_products_without_a_copy():
    cuda, rng = resolve("cuda"), np.random.default_rng(0)
    shapes = (2, 4, 4, 3), (5, 1, 1, 3), (2, 4, 4, 5)
    x, weight, dy = (cuda.asarray(rng.normal(size=shape), "float32") for shape in shapes)
    with recorded() as record:
        kernels.conv2d(x, weight, None, Window((1, 1)))
        kernels.conv2d_backward(x, dy, weight, Window((1, 1)), need_db=False)
    assert record.count("launch") == 3, str(record)
