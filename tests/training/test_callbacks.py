"""What follows a training: when it is called, what it sees, and that it may end it."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import blocks_of
from tests.training.runs import StopAfter, timeless
from xpnet import Network
from xpnet.datasets import Dataset
from xpnet.errors import TrainingDivergedError
from xpnet.layers import Dense, ReLU
from xpnet.optimizers import SGD
from xpnet.runs.records import HistoryFile, MetricsFile
from xpnet.training import Callback, EarlyStopping, TrainConfig, Trainer

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


class Diary(Callback):
    """Writes down what happens."""

    def __init__(self, name="", entries=None):
        self.name, self.entries = name, [] if entries is None else entries

    def on_begin(self, trainer):
        self.entries.append(f"{self.name}begin {trainer.iteration}/{trainer.iterations}")

    def on_step(self, trainer):
        self.entries.append(f"{self.name}step {trainer.iteration}")

    def on_report(self, trainer, record):
        self.entries.append(f"{self.name}report {record.iteration}")

    def on_end(self, trainer):
        self.entries.append(f"{self.name}end {trainer.iteration}")


def points():
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    return rng.normal(size=(24, 3)) + 2 * y[:, None], y


def network():
    return Network([Dense(4), ReLU(), Dense(2)], (3,))


def fit(*callbacks, net=None, **settings):
    settings = {"iterations": 5, "report_every": 2, "batch_size": 8, **settings}
    return (net or network()).fit(*points(), callbacks=callbacks, progress=False, **settings)


def test_the_order_of_calls():
    diary = Diary()
    fit(diary)
    assert diary.entries == [
        "begin 0/5", "step 1", "step 2", "report 2", "step 3", "step 4", "report 4", "step 5", "report 5", "end 5",
    ]  # fmt: skip


def test_callbacks_are_called_in_the_order_they_were_given():
    entries = []
    fit(Diary("a ", entries), Diary("b ", entries), iterations=1)
    assert [entry.split()[0] for entry in entries] == ["a", "b"] * 4


def test_one_that_overrides_nothing_is_one_too():
    assert len(fit(Callback())) == 3


def test_at_a_report_network_and_history_are_those_of_the_record():
    seen = []

    class Look(Callback):
        def on_report(self, trainer, record):
            assert trainer.history[-1] is record
            seen.append((record.iteration, trainer.network.evaluate(*points()).loss, trainer.network.theta.copy()))

    net = network()
    fit(Look(), net=net)
    assert [iteration for iteration, *_ in seen] == [2, 4, 5]
    assert len({loss for _, loss, _ in seen}) == 3
    np.testing.assert_array_equal(seen[-1][2], net.theta)


def test_between_reports_the_network_has_the_values_of_the_last_one():
    seen = []

    class Look(Callback):
        def on_step(self, trainer):
            seen.append(trainer.network.theta.copy())

    fit(Look())
    assert np.array_equal(seen[2], seen[3])
    assert not np.array_equal(seen[3], seen[4])


@pytest.mark.parametrize("moment", ["on_step", "on_report"])
def test_stop_ends_it_after_the_iteration(moment):
    class Stop(Callback):
        def on_step(self, trainer):
            if moment == "on_step" and trainer.iteration == 3:
                trainer.stop()

        def on_report(self, trainer, record):
            if moment == "on_report" and record.iteration == 2:
                trainer.stop()

    diary = Diary()
    history = fit(Stop(), diary)
    last = 3 if moment == "on_step" else 2
    assert history[-1].iteration == last
    assert diary.entries[-2:] == [f"report {last}", f"end {last}"]


def test_run_again_goes_on_after_stop():
    x, y = points()
    config = TrainConfig(iterations=5, report_every=2, batch_size=8)
    whole, stopped = (Trainer(network(), Dataset.from_arrays(x, y), config) for _ in range(2))
    expected, diary = timeless(whole.run()), Diary()
    stopped.run([StopAfter(3)])
    assert timeless(stopped.run([diary])) == expected
    assert diary.entries[:2] == ["begin 3/5", "step 4"]


@pytest.mark.parametrize("moment", ["on_begin", "on_step", "on_report"])
def test_after_an_error_of_a_callback_the_network_has_what_was_learned(moment):
    class Fail(Diary):
        pass

    def fail(self, *arguments):
        raise RuntimeError("of one's own")

    setattr(Fail, moment, fail)
    net, diary = network(), Diary()
    before = net.theta.copy()
    with pytest.raises(RuntimeError, match="of one's own"):
        fit(diary, Fail(), net=net)
    assert "end" not in str(diary.entries)
    assert np.array_equal(net.theta, before) == (moment == "on_begin")
    assert len(fit(net=net)) == 3


def test_a_training_that_diverges_has_no_end():
    diary = Diary()
    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        fit(diary, optimizer=SGD(1e30))
    assert "end" not in str(diary.entries)


def test_files_of_records_are_callbacks_like_any_other(tmp_path):
    csv, lines = HistoryFile(tmp_path / "history.csv"), MetricsFile(tmp_path / "metrics.jsonl")
    history = fit(csv, lines)
    csv.close(), lines.close()
    rows = (tmp_path / "history.csv").read_text().splitlines()
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == ",".join(history.to_dict())
    assert [float(row.split(",")[1]) for row in rows[1:]] == history.to_dict()["loss"]
    assert [line["train_accuracy"] for line in written] == history.to_dict()["train_accuracy"]


def test_the_mlflow_callback_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    experiment = mlflow.set_experiment("followed")
    (block,) = blocks_of(PAGE.read_text(encoding="utf-8"))
    net, (x, y) = network(), points()
    fits = []
    monkeypatch.setattr(net, "fit", lambda *data, **settings: fits.append(Network.fit(net, *data, **settings)))
    exec(compile(block, str(PAGE), "exec"), {"net": net, "x": x, "y": y})
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["iterations"] == "5"
    (history,) = fits
    logged = client.get_metric_history(run.info.run_id, "validation_score")
    assert [(metric.step, metric.value) for metric in logged] == [(r.iteration, r.validation_score) for r in history]


class StopEarly(Callback):
    """Early stopping by the public protocol alone."""

    def __init__(self, patience):
        self.patience, self.best, self.values, self.since = patience, -np.inf, None, 0

    def on_report(self, trainer, record):
        self.since += 1
        if record.monitored > self.best:
            self.best, self.values, self.since = record.monitored, trainer.network.parameters(), 0
        if self.since >= self.patience:
            trainer.stop()

    def on_end(self, trainer):
        trainer.network.set_tensors({**trainer.network.tensors(), **self.values})


def test_early_stopping_needs_no_private_way():
    settings = {"iterations": 60, "report_every": 1, "optimizer": SGD(2.0), "validation": 8}
    ours, theirs = network(), network()
    stopper = StopEarly(3)
    history = fit(stopper, net=ours, **settings)
    assert timeless(history) == timeless(fit(net=theirs, early_stopping=EarlyStopping(3), **settings))
    assert len(history) < 60
    np.testing.assert_array_equal(ours.theta, theirs.theta)
