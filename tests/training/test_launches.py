"""What a training step makes a GPU do: few launches, no wait, and no copy but the numbers of its batch."""

import dataclasses

import pytest

from tests.emulated_cuda.records import IS_EMULATED, recorded
from xpnet.training import Trainer

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")

MLP = {
    "model": "mlp",
    "model_options": {"hidden": (8,), "dropout": 0.5, "batch_norm": True},
    "optimizer": "adam",
    "momentum": None,
    "momentum_form": None,
}
AUGMENTED = {"crop_padding": 2, "flip": True, "cutout": 7}


@pytest.fixture
def on_gpu(config, digits):
    """A trainer on the device whose kernels are compiled and whose tables are made."""

    def make(settings):
        trainer = Trainer(dataclasses.replace(config, device="cuda", **settings), digits)
        trainer.step()
        trainer.step()
        return trainer

    return make


@pytest.mark.parametrize(
    ("settings", "most"),
    [({}, 44), (MLP, 38), (AUGMENTED, 103), ({**MLP, "precision": "float16"}, 79)],
    ids=["starter", "mlp", "augmented", "float16"],
)
def test_a_step_is_few_launches_and_nobody_waits(on_gpu, settings, most):
    trainer = on_gpu(settings)
    with recorded() as record:
        trainer.step()
    assert record.count("launch") + record.count("set") <= most, str(record)
    assert record.count("wait") == record.count("to host") == 0, str(record)
    assert record.count("to device") <= 1, str(record)


def test_a_report_reads_but_steps_do_not(on_gpu):
    trainer = on_gpu({})
    with recorded() as record:
        reports = iter(trainer.run())
        next(reports)
    assert record.count("to host") > 0
