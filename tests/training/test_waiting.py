"""The host waits for the device where results are reported, and nowhere else."""

import numpy as np
import pytest

from tests.training.runs import AfterStep, make_trainer

READERS = ("__bool__", "__float__", "__int__", "__index__", "__array__", "item", "tolist", "numpy", "cpu")
MLP = {"model": "mlp", "model_options": {"hidden": (8,), "dropout": 0.5, "batch_norm": True}}


@pytest.mark.parametrize(
    "settings",
    [{}, MLP, {**MLP, "precision": "float16"}, {"clip_norm": 1.0, "flip": True, "schedule": "cosine"}],
    ids=["starter", "mlp", "float16", "augmented"],
)
def test_no_step_reads_a_value_back(digits, monkeypatch, settings):
    """PyTorch's arrays tell who reads them; labels are not checked, as if they were on a GPU."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    monkeypatch.setattr("xpnet.losses.base.is_readable", lambda array: False)
    reads = 0

    def counted(method):
        def read(*args, **kwargs):
            nonlocal reads
            reads += 1
            return method(*args, **kwargs)

        return read

    trainer = make_trainer(digits, backend="torch", **settings)
    for name in READERS:
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    seen = []
    trainer.run([AfterStep(lambda iteration: seen.append(reads))])
    per_step = np.diff(seen)
    reports = {4, 9}  # of iterations counted from 0: before the steps that follow a report
    assert not np.any(np.delete(per_step, sorted(reports)))
    assert np.all(per_step[sorted(reports)] > 0)
