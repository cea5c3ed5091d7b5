"""A run that goes on from a snapshot, in a new trainer, equals one that was never stopped: bit for bit on the CPU."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import refused
from tests.training.runs import AfterStep, StopAfter, timeless
from xpnet.backend import to_numpy
from xpnet.errors import TrainingDivergedError
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.checkpoint import load, resume, save
from xpnet.runs.settings import make_run
from xpnet.training.snapshot import Progress, Snapshot

ITERATIONS, REPORT_EVERY = 13, 4
MLP = {"model": "mlp", "model_options": {"hidden": (6,)}}
WAYS = {
    **{f"optimizer {name}": {**MLP, "optimizer": name} for name in OPTIMIZERS},
    "amsgrad": {**MLP, "optimizer": "adam", "amsgrad": True},
    "nesterov": {**MLP, "momentum_form": "nesterov", "weight_decay": 0.01, "decay_biases": False},
    "step": {**MLP, "schedule": "step", "schedule_every": 3},
    "exponential": {**MLP, "schedule": "exponential", "schedule_every": 3},
    "inverse-time": {**MLP, "schedule": "inverse-time", "schedule_every": 3, "warmup": 5},
    "cosine": {**MLP, "schedule": "cosine", "warmup": 2},
    "plateau": {**MLP, "schedule": "plateau", "schedule_patience": 1, "learning_rate": 1e-5},
    "early stopping": {**MLP, "early_stopping": 2, "learning_rate": 1e-5},
    "early stopping that keeps the best": {**MLP, "early_stopping": 9, "learning_rate": 0.5},
    "dropout": {"model": "mlp", "model_options": {"hidden": (6,), "dropout": 0.4}},
    "batch norm": {"model": "mlp", "model_options": {"hidden": (6,), "batch_norm": True}},
    "frozen batch norm": {"model": "mlp", "model_options": {"hidden": (6, 5), "batch_norm": True}, "freeze": ["bn1.*"]},
    "augmentation": {**MLP, "crop_padding": 2, "flip": True, "cutout": 5},
    "mixup": {**MLP, "mixup": 0.4},
    "cutmix": {**MLP, "cutmix": 1.0, "crop_padding": 1},
    "average": {**MLP, "ema": 0.8},
    "average with batch norm and early stopping": {
        "model": "mlp",
        "model_options": {"hidden": (6,), "batch_norm": True},
        "ema": 0.8,
        "early_stopping": 9,
    },
    "accumulation": {"model": "mlp", "model_options": {"hidden": (6,), "batch_norm": True}, "accumulate": 3},
    "clipping": {**MLP, "clip_norm": 0.1},
    "float64": {**MLP, "dtype": "float64"},
    "convolutions": {"model": "mnist_starter"},
    "convolutions, deterministic": {"model": "mnist_starter", "deterministic": True, "threads": 2},
    "everything": {
        "model": "mlp",
        "model_options": {"hidden": (6,), "dropout": 0.2, "batch_norm": True},
        "optimizer": "adamw",
        "epsilon": 1e-3,  # more than the rounding of gradients, which Adam would blow up to whole steps
        "schedule": "plateau",
        "schedule_patience": 1,
        "warmup": 3,
        "early_stopping": 9,
        "ema": 0.9,
        "mixup": 0.4,
        "crop_padding": 1,
        "batch_size": 37,
    },
}


def run_of(settings):
    """A run that crosses an epoch, with a last record out of the others' step."""
    return make_run(
        **{"iterations": ITERATIONS, "batch_size": 30, "limit": 100, "report_every": REPORT_EVERY, **settings}
    )


def make(settings, digits):
    return run_of(settings).make_trainer(digits)


def assert_same(ours, theirs):
    """All that the two would write into a checkpoint, but for the times, and what the network is left with."""
    ours_now, theirs_now = ours.snapshot(), theirs.snapshot()
    assert ours_now.tensors.keys() == theirs_now.tensors.keys()
    for name, tensor in ours_now.tensors.items():
        np.testing.assert_array_equal(tensor, theirs_now.tensors[name], strict=True, err_msg=name)
    times = {"seconds": 0.0, "training_seconds": 0.0, "best": None}
    assert ours_now.progress._replace(**times) == theirs_now.progress._replace(**times)
    assert (ours.best is None) == (theirs.best is None)
    if ours.best and theirs.best:
        assert timeless([ours.best.record]) == timeless([theirs.best.record])
    np.testing.assert_array_equal(ours.network.theta, theirs.network.theta)


@pytest.mark.parametrize("way", WAYS)
def test_from_a_file_after_any_iteration(way, digits, tmp_path):
    """Saved between two reports, before the record of one, and at the end; read into trainers that know nothing."""
    paths, run = {}, run_of(WAYS[way])
    whole = run.make_trainer(digits)

    def after(iteration):
        paths[iteration] = tmp_path / f"{iteration}.safetensors"
        save(paths[iteration], whole, run)

    expected = timeless(whole.run([AfterStep(after)]))
    for iteration in (1, 4, 6, whole.iteration):
        resumed = make(WAYS[way], digits)
        assert resume(resumed, run, paths[iteration], load(paths[iteration])) == []
        assert resumed.iteration == iteration
        records = timeless(resumed.run())
        assert records == [record for record in expected if record.iteration > resumed_after(iteration)]
        assert_same(resumed, whole)
        resumed_test, whole_test = resumed.network.evaluate(digits), whole.network.evaluate(digits)
        np.testing.assert_array_equal(resumed_test.probabilities, whole_test.probabilities)


def resumed_after(iteration):
    """The last record before a checkpoint that is written between an iteration and its record."""
    return (iteration - 1) // REPORT_EVERY * REPORT_EVERY


@pytest.mark.parametrize("way", ["plateau", "early stopping", "early stopping that keeps the best", "everything"])
def test_a_record_after_stop_changes_nothing(way, digits):
    """Ctrl-C gives a record of its own; plateau and early stopping must not count it."""
    whole, stopped, resumed = (make(WAYS[way], digits) for _ in range(3))
    expected = timeless(whole.run())
    first = timeless(stopped.run([StopAfter(6)]))
    assert [record.iteration for record in first] == [4, 6]
    resumed.restore(stopped.snapshot())
    assert first[:1] + timeless(resumed.run()) == timeless(stopped.run()) == expected
    assert_same(resumed, whole)
    assert_same(stopped, whole)


def test_a_snapshot_changes_nothing_and_is_not_changed(digits):
    plain, watched = (make(WAYS["everything"], digits) for _ in range(2))
    snapshots = []
    records = timeless(watched.run([AfterStep(lambda iteration: snapshots.append(watched.snapshot()))]))
    copies = [{name: tensor.copy() for name, tensor in snapshot.tensors.items()} for snapshot in snapshots]
    assert records == timeless(plain.run())
    assert_same(watched, plain)
    for snapshot, copy in zip(snapshots, copies, strict=True):
        for name, tensor in snapshot.tensors.items():
            np.testing.assert_array_equal(tensor, copy[name])


def test_a_run_that_is_over_has_nothing_left_to_do(digits):
    for way in ("early stopping", "convolutions"):
        whole, resumed = (make(WAYS[way], digits) for _ in range(2))
        whole.run()
        resumed.restore(whole.snapshot())
        assert not resumed.run()
        assert_same(resumed, whole)


def test_a_longer_run_equals_one_that_was_long_from_the_start(digits):
    short = make({**WAYS["early stopping that keeps the best"], "iterations": 6}, digits)
    long, resumed = (make(WAYS["early stopping that keeps the best"], digits) for _ in range(2))
    snapshots = {}
    short.run([AfterStep(lambda iteration: snapshots.update({iteration: short.snapshot()}))])
    resumed.restore(snapshots[6])
    expected = timeless(long.run())
    assert timeless(resumed.run()) == expected[1:]
    assert_same(resumed, long)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_another_backend_goes_on_within_rounding_and_says_so(backend, digits, tmp_path):
    pytest.importorskip(backend, exc_type=ImportError)
    run, other = run_of(WAYS["everything"]), run_of({**WAYS["everything"], "backend": backend})
    whole, resumed = run.make_trainer(digits), other.make_trainer(digits)
    path = tmp_path / "6.safetensors"
    expected = whole.run([AfterStep(lambda iteration: save(path, whole, run) if iteration == 6 else None)])
    differences = resume(resumed, other, path, load(path))
    assert f"backend numpy before, {backend} now" in differences
    for ours, theirs in zip(timeless(resumed.run()), timeless(expected)[1:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(to_numpy(resumed.network.theta), whole.network.theta, atol=1e-4)


@pytest.mark.parametrize("steps", [REPORT_EVERY, REPORT_EVERY + 1])
def test_a_run_goes_on_after_steps_of_ones_own(digits, steps):
    trainer = make(MLP, digits)
    for _ in range(steps):
        trainer.step()
    assert [record.iteration for record in trainer.run()] == [i for i in (4, 8, 12, 13) if i >= steps]


def test_a_trainer_forgets_the_best_of_another_run(digits):
    settings = {**MLP, "early_stopping": 2, "learning_rate": 1e-5}
    trainer, fresh = make(settings, digits), make(settings, digits)
    start = trainer.snapshot()
    trainer.run()
    trainer.restore(start)
    assert trainer.best is None
    assert timeless(trainer.run()) == timeless(fresh.run())


def test_time_goes_on_where_it_was(digits):
    first, second = (make(WAYS["convolutions"], digits) for _ in range(2))
    first.run([StopAfter(6)])
    snapshot = first.snapshot()
    progress = snapshot.progress._replace(seconds=100.0, training_seconds=50.0)
    second.restore(snapshot._replace(progress=progress))
    assert second.progress.examples_per_second == progress.examples_seen / 50
    assert second.run()[0].seconds > 100


def test_the_key_is_the_snapshots_own(digits):
    """A later version may draw another one from the same seed."""
    first, second = (make(WAYS["dropout"], digits) for _ in range(2))
    snapshot = first.snapshot()
    second.restore(snapshot._replace(tensors={**snapshot.tensors, "key": snapshot.tensors["key"] + 1}))
    for trainer in (first, second):
        trainer.run()
    assert not np.array_equal(first.network.theta, second.network.theta)


def test_another_network_is_refused_by_its_first_tensor(digits):
    snapshot = make(MLP, digits).snapshot()
    with refused("Snapshot: 'dense1.weight' is (6, 784)", "(7, 784) in the network."):
        make({**MLP, "model_options": {"hidden": (7,)}}, digits).restore(snapshot)
    with refused("Snapshot: 'conv1.weight' is in the network but not in"):
        make({"model": "mnist_starter"}, digits).restore(snapshot)


def test_another_optimizer_is_refused(digits):
    with refused("Snapshot", "'optimizer/steps' to be float32 (1,)", "got missing"):
        make({**MLP, "optimizer": "adam"}, digits).restore(make(MLP, digits).snapshot())
    with refused("Snapshot", "'optimizer/velocity' to be missing", "got float32 (4780,)"):
        make({**MLP, "optimizer": "sgd"}, digits).restore(make(MLP, digits).snapshot())


def test_a_snapshot_without_a_key_or_with_another_dtype_is_refused(digits):
    snapshot = make(MLP, digits).snapshot()
    tensors = dict(snapshot.tensors)
    tensors["optimizer/velocity"] = tensors["optimizer/velocity"].astype(np.float64)
    with refused("Snapshot", "'optimizer/velocity' to be float32 (4780,)", "got float64 (4780,)"):
        make(MLP, digits).restore(snapshot._replace(tensors=tensors))
    del tensors["key"], tensors["optimizer/velocity"]
    tensors["optimizer/velocity"] = snapshot.tensors["optimizer/velocity"]
    with refused("Snapshot: expected 'key' to be int32 (2,), got missing."):
        make(MLP, digits).restore(snapshot._replace(tensors=tensors))


def test_a_best_record_that_early_stopping_would_not_have_is_refused(digits):
    way = {**MLP, "early_stopping": 9, "iterations": 12}
    trainer = make(way, digits)
    trainer.run([StopAfter(8)])
    snapshot = trainer.snapshot()
    progress, best = snapshot.progress, snapshot.progress.best
    without = {name: tensor for name, tensor in snapshot.tensors.items() if not name.startswith("best/")}
    for changes, tensors in [
        ({"best": None}, snapshot.tensors),
        ({"best": None, "reports_since_best": 0}, without),
        ({}, without),
        ({"best": best._replace(iteration=9)}, snapshot.tensors),
        ({"best": best._replace(iteration=0), "reports_since_best": 2}, snapshot.tensors),
        ({"reports_since_best": progress.reports_since_best + 1, "reported": best.iteration}, snapshot.tensors),
        ({"reports_since_best": 0, "best": best._replace(iteration=4)}, snapshot.tensors),
    ]:
        with refused("Snapshot: expected the best record up to iteration ", " as early stopping has it, got "):
            make(way, digits).restore(Snapshot(tensors, progress._replace(**changes)))
    make(way, digits).restore(snapshot)
    with refused("Snapshot: expected the best record"):
        make({**MLP, "iterations": 12}, digits).restore(snapshot)


@pytest.mark.parametrize("value", [0, "", [], {}, False])
def test_a_best_record_that_is_none_is_refused(digits, value):
    values = make({**MLP, "early_stopping": 9}, digits).progress._asdict()
    with pytest.raises((TypeError, ValueError)):
        Progress.from_json({**values, "best": value})


def test_a_snapshot_of_a_longer_run_is_refused(digits):
    trainer = make(MLP, digits)
    trainer.run()
    with refused("Snapshot: expected at most 5 iterations, got 13."):
        make({**MLP, "iterations": 5}, digits).restore(trainer.snapshot())


def test_a_diverged_run_gives_no_snapshot(digits):
    """A checkpoint of it would take the place of a good one."""
    trainer = make({"model": "mnist_starter", "learning_rate": 1e20}, digits)
    with pytest.raises(TrainingDivergedError):
        trainer.run([AfterStep(lambda iteration: trainer.snapshot())])
    assert trainer.iteration < REPORT_EVERY


def test_the_same_seed_gives_the_same_snapshot(digits):
    trainers = [make(WAYS["everything"], digits) for _ in range(2)]
    for trainer in trainers:
        trainer.run()
    assert_same(*trainers)
    other = make({**WAYS["everything"], "seed": 1}, digits)
    other.run()
    assert not np.array_equal(other.network.theta, trainers[0].network.theta)
    assert dataclasses.replace(other.config, seed=0) == trainers[0].config
