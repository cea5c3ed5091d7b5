"""Workers and how they are compared: with real processes once, else with sessions in this one."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest

from xpnet.backend import resolve
from xpnet.benchmark import ablation, controller, worker
from xpnet.benchmark import profile as profiling
from xpnet.benchmark.cases import find_cases
from xpnet.benchmark.controller import Row, WorkerError, _Taken, measure, profile
from xpnet.benchmark.implementation import make
from xpnet.benchmark.profile import REST
from xpnet.kernels import onednn_kernels, table
from xpnet.runtime import Runtime

SETTINGS = {"device": "cpu", "threads": 1}


@pytest.fixture
def case():
    return find_cases("mnist_starter", (2,))[0]


class LocalWorker(controller.Worker):
    """Xpnet under any name, in this process, with a gradient that ``spoil`` has changed."""

    spoil = staticmethod(lambda name, gradient: gradient)

    def __init__(self, implementation, case, device, threads):
        self.implementation = implementation
        self._session = worker.Session("xpnet-numpy", case.to_json(), device, threads)

    def __exit__(self, *error):
        pass

    def ask(self, do, **request):
        reply = getattr(self._session, do)(**request)
        if do == "gradient":
            with np.load(request["path"]) as saved:
                gradient = self.spoil(self.implementation, dict(saved))
            np.savez(request["path"], **gradient)
        return reply


def test_processes_are_measured_in_turn(case):
    pytest.importorskip("torch")
    said = []
    rows = measure(case, ("xpnet-numpy", "torch", "torch-channels-last"), said.append, rounds=1, **SETTINGS)
    assert said == []
    names = ["xpnet-numpy", "torch", "torch-channels-last"]
    assert [(row.mode, row.implementation) for row in rows] == [(m, n) for m in ("predict", "train") for n in names]
    for row in rows:
        assert (row.model, row.batch_size) == ("mnist_starter", 2)
        assert 0 < row.p10_ms <= row.median_ms <= row.p90_ms
        assert row.images_per_second == pytest.approx(2000 / row.median_ms)
        torch = next(other for other in rows if (other.mode, other.implementation) == (row.mode, "torch"))
        assert row.ratio_to_torch == row.median_ms / torch.median_ms


def test_figures_of_a_row(case):
    taken = {"xpnet-numpy": _Taken(), "torch": _Taken()}
    for part, peak in ((range(1, 4), 2.0), (range(4, 12), 3.0), ((), 1.0), ((), None)):
        taken["xpnet-numpy"].add([0.001 * n for n in part], peak)
    taken["torch"].add([0.012], None)
    ours, theirs = controller._rows(case, "train", taken)
    assert ours == Row("mnist_starter", 2, "train", "xpnet-numpy", *map(pytest.approx, (6, 2, 10, 1000 / 3, 3.0, 0.5)))
    assert (theirs.peak_memory_mb, theirs.ratio_to_torch) == (None, 1.0)
    (alone,) = controller._rows(case, "train", {"jax": _Taken([1.0])})
    assert alone.ratio_to_torch is None


@pytest.mark.parametrize(("rounds", "expected"), [(1, [1]), (4, [4]), (7, [3, 4]), (10, [3, 3, 4]), (12, [4, 4, 4])])
def test_rounds_are_spread_over_processes(monkeypatch, case, rounds, expected):
    """All of them after the reference's gradient was compared with the others', once."""
    seen = []

    class Counting:
        def __init__(self, implementation, *_):
            self.implementation = implementation
            seen.append([])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, do, **request):
            seen[-1].append(do)
            return {"known": False} if do == "gradient" else {"seconds": [float(len(seen))], "peak_memory_mb": None}

    monkeypatch.setattr(controller, "Worker", Counting)
    monkeypatch.setattr(controller, "PAUSE_SECONDS", 0.0)
    (row,) = measure(case, ("sklearn",), lambda said: None, rounds=rounds, modes=("train",), **SETTINGS)
    assert [asked.count("block") for asked in seen] == expected
    assert [asked.count("gradient") for asked in seen] == [2, 0, 0][: len(seen)]
    middle = np.repeat(np.arange(len(seen)) + 1.0, expected)  # a call takes as many seconds as its process is young
    assert row.median_ms == 1e3 * np.median(middle)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda g: {**g, "conv1.weight": 1.002 * g["conv1.weight"]},
            "conv1.weight differs by 2.0e-03, more than 0.001",
        ),
        (lambda g: {**g, "dense1.bias": g["dense1.bias"] * np.nan}, "dense1.bias differs by inf"),
        (lambda g: {**g, "conv1.weight": g["conv1.weight"].T}, "conv1.weight differs by inf"),
        (lambda g: {name: g[name] for name in list(g)[1:]}, "conv1.weight are there once"),
    ],
)
def test_other_work_is_not_timed(monkeypatch, case, spoil, words):
    monkeypatch.setattr(controller, "Worker", LocalWorker)
    monkeypatch.setattr(
        LocalWorker, "spoil", staticmethod(lambda name, gradient: spoil(gradient) if name == "broken" else gradient)
    )
    said = []
    rows = measure(case, ("xpnet-numpy", "broken", "torch"), said.append, rounds=2, modes=("train",), **SETTINGS)
    assert [row.implementation for row in rows] == ["xpnet-numpy", "torch"]
    (line,) = said
    assert line.startswith("broken refused for mnist_starter, other work in float64: ")
    assert words in line


def test_the_kernels_of_float32_are_compared_too(monkeypatch, case):
    """oneDNN, and a GPU's kernels, serve no other dtype."""
    monkeypatch.setattr(controller, "Worker", LocalWorker)
    monkeypatch.setattr(
        LocalWorker,
        "spoil",
        staticmethod(
            lambda name, gradient: {
                tensor: array * (1.002 if (name, array.dtype) == ("broken", np.float32) else 1)
                for tensor, array in gradient.items()
            }
        ),
    )
    said = []
    rows = measure(case, ("torch", "broken"), said.append, rounds=1, modes=("train",), **SETTINGS)
    assert [row.implementation for row in rows] == ["torch"]
    assert said[0].startswith("broken refused for mnist_starter, other work in float32: the gradient of ")


def test_small_differences_are_rounding(monkeypatch, case):
    monkeypatch.setattr(controller, "Worker", LocalWorker)
    monkeypatch.setattr(
        LocalWorker, "spoil", staticmethod(lambda name, gradient: {n: 1.0005 * g for n, g in gradient.items()})
    )
    said = []
    assert len(measure(case, ("torch", "jax"), said.append, rounds=1, modes=("train",), **SETTINGS)) == 2
    assert said == []


def test_without_a_reference_nothing_is_timed(case):
    said = []
    assert measure(case, ("xpnet-nonsense", "torch"), said.append, rounds=1, **SETTINGS) == []
    assert "xpnet-nonsense left out for mnist_starter: InputError: backend 'nonsense'" in said[0]


@pytest.mark.parametrize("failing", ["predict", "train"])
@pytest.mark.parametrize("process", [1, 2])
def test_who_fails_while_being_timed_is_left_out_whole(monkeypatch, case, failing, process):
    started = []

    class Failing(LocalWorker):
        def __init__(self, implementation, *rest):
            super().__init__(implementation, *rest)
            started.append(implementation)
            self.number = started.count(implementation)

        def ask(self, do, **request):
            if (self.implementation, self.number, request.get("mode")) == ("torch", process, failing):
                raise WorkerError("no memory")
            return super().ask(do, **request)

    monkeypatch.setattr(controller, "Worker", Failing)
    said = []
    rows = measure(case, ("xpnet-numpy", "torch"), said.append, rounds=9, **SETTINGS)
    assert [(row.mode, row.implementation) for row in rows] == [("predict", "xpnet-numpy"), ("train", "xpnet-numpy")]
    assert said == ["torch left out: no memory"]
    assert started.count("torch") == process


def test_a_dead_process_is_an_error(case):
    with controller.Worker("xpnet-numpy", case, **SETTINGS) as process:
        process._process.kill()
        process._process.wait()
        with pytest.raises(WorkerError, match="ended with code"):
            process.ask("block", mode="train", seconds=0.0)


def test_memory_of_a_step_is_counted_above_the_built_network():
    """In a process of its own: this one has memory to use again."""
    (case,) = find_cases("mnist_starter", (256,))
    with controller.Worker("xpnet-numpy", case, **SETTINGS) as process:
        peak = process.ask("block", mode="train", seconds=0.0)["peak_memory_mb"]
    if peak is not None:
        activations = 256 * 4 * (28 * 28 * 16 + 14 * 14 * 16 * 3) / 1e6  # a ReLU before a pool leaves none
        assert activations < peak < 6 * activations


def test_worker_answers_until_an_error(case):
    first = {"implementation": "xpnet-numpy", "case": case.to_json(), "device": "cpu"}
    requests = [first, {"do": "block", "mode": "train", "seconds": 0.0}, {"do": "block", "mode": "x"}, first]
    replies = io.StringIO()
    worker.serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies, 1)
    ready, block, error = map(json.loads, replies.getvalue().splitlines())
    assert ready == {}
    assert len(block["seconds"]) >= 1
    assert error["error"].startswith("TypeError")


@pytest.mark.parametrize("name", ["xpnet-numpy", "xpnet-numpy-pure"])
def test_profile_names_every_layer_and_adds_up(monkeypatch, case, name):
    monkeypatch.setattr(controller, "PROFILE_SECONDS", 0.1)
    monkeypatch.setattr(controller, "Worker", LocalWorker)
    measured = profile(case, name, **SETTINGS)
    costs = {cost.name: cost for cost in measured.costs}
    assert list(costs) == [leaf.name for leaf in case.layer.leaves(case.input_shape)] + [REST]
    assert costs["conv2"].kind == "Conv2D"
    assert min(costs["conv2"][2:]) > 0
    (conv2,) = (leaf for leaf in case.layer.leaves(case.input_shape) if leaf.name == "conv2")
    ours, theirs = math.prod(conv2.input_shape), math.prod(conv2.layer.output_shape(conv2.input_shape))
    assert costs["conv2"].megabytes == pytest.approx(4e-6 * case.batch_size * (3 * ours + 2 * theirs))
    assert costs[REST].megabytes == pytest.approx(8e-6 * 3 * case.network().parameter_count)
    assert costs["normalize1"].backward_ms == 0  # nobody asks for the gradient of the images
    assert costs[REST].forward_ms > 0
    assert 0 < measured.products_ms == pytest.approx(1e3 * measured.total.gflop / measured.product_rate)
    assert 0 < measured.traffic_ms == pytest.approx(measured.total.megabytes / measured.copy_rate)
    assert measured.floor_ms == max(measured.products_ms, measured.traffic_ms)


def test_the_first_step_of_a_profile_is_not_counted(monkeypatch, case):
    monkeypatch.setattr(profiling, "_product_rate", lambda backend, wait: 1.0)
    monkeypatch.setattr(profiling, "median", len)
    costs = profiling.profile(case, "cpu", "numpy", seconds=0.0).costs
    assert {cost.forward_ms for cost in costs if cost.name != REST} == {1e3}


def test_the_rates_are_those_of_the_fastest_call(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 12.0, 20.0, 20.5, 30.0, 31.0, 40.0, 44.0])
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(profiling.kernels, "matmul", lambda a, b: None)
    rate = profiling._product_rate(resolve("cpu"), lambda: None)
    assert rate == pytest.approx(2 * 2048**3 / 0.5 / 1e9)
    monkeypatch.setattr(profiling, "_fastest", lambda call, wait: call() and 2.0)
    assert profiling._copy_rate(resolve("cpu"), lambda: None) == pytest.approx(8e-9 * profiling._COPIED / 2.0)


def test_the_first_call_of_a_turn_is_not_counted(case):
    session = worker.Session("xpnet-numpy", case.to_json(), "cpu", 1)
    session.block("train", 0.0)
    called = []
    session._calls["train"] = lambda: called.append("train")
    assert len(session.block("train", 0.0)["seconds"]) == 1
    assert len(called) == 2


@pytest.mark.parametrize(
    ("implementation", "choice", "graph"),
    [
        ("xpnet-cupy", "fastest", False),
        ("xpnet-cupy-graph", "fastest", True),
        ("xpnet-cupy-cudnn", "cudnn", False),
        ("xpnet-cupy-cudnn-graph", "cudnn", True),
        ("xpnet-torch-pure", "pure", False),
    ],
)
def test_xpnets_processes_choose_kernels_and_precision(monkeypatch, case, implementation, choice, graph):
    if "torch" in implementation:
        pytest.importorskip("torch")
    tuned = []
    monkeypatch.setattr(Runtime, "configure", lambda runtime: tuned.append(runtime))
    case = dataclasses.replace(case, precision="tf32")
    worker.Session(implementation, case.to_json(), "cuda:0", 1)
    assert tuned == [Runtime(threads=1, kernels=choice, precision="tf32", graph=graph)]


def test_gradients_are_compared_without_tf32(monkeypatch, tmp_path, case):
    used = []
    monkeypatch.setattr(Runtime, "configure", lambda runtime: used.append(runtime.precision))
    monkeypatch.setattr(worker, "_set_precision", lambda implementation, precision: used.append(precision))
    monkeypatch.setattr(worker, "make", lambda implementation, case, device: make(implementation, case, "cpu"))
    session = worker.Session("xpnet-numpy", dataclasses.replace(case, precision="tf32").to_json(), "cuda:0", 1)
    assert session.gradient(str(tmp_path / "gradient.npz"), "float32") == {"known": True}
    assert used == ["tf32"] * 2 + ["float32"] * 2 + ["tf32"] * 2
    with np.load(tmp_path / "gradient.npz") as gradient:
        assert {array.dtype for array in gradient.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_other_libraries_multiply_as_xpnet_does_on_a_gpu(monkeypatch, case, library):
    module = pytest.importorskip(library)
    case, said = dataclasses.replace(case, precision="tf32"), []

    def settings():
        if library == "jax":
            return module.config.jax_default_matmul_precision
        return [module.backends.cuda.matmul.allow_tf32, module.backends.cudnn.allow_tf32]

    before = settings()
    try:
        worker.Session(library, case.to_json(), "cpu", 1)
        said.append(settings())
        worker.Session(library, case.to_json(), "cuda:0", 1)
        said.append(settings())
        worker.Session(library, dataclasses.replace(case, precision="float32").to_json(), "cuda:0", 1)
        said.append(settings())
    finally:
        if library == "jax":
            module.config.update("jax_default_matmul_precision", before)
        else:
            module.backends.cuda.matmul.allow_tf32, module.backends.cudnn.allow_tf32 = before
    assert said == [before, *(("tensorfloat32", "highest") if library == "jax" else ([True] * 2, [False] * 2))]


def test_a_variant_of_a_library_runs_on_its_arrays(case):
    assert make("xpnet-numpy-cudnn", case, "cpu").network.backend.name == "numpy"


def test_the_pure_kernels_serve_their_own_process(case):
    """As here, where NumPy's own are broken and must not be called."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("conv2d", "conv2d_backward"):
            patch.setattr(f"xpnet.kernels.numpy_kernels.{name}", None)
        session = worker.Session("xpnet-numpy-pure", case.to_json(), "cpu", 1)
        assert session.block("train", 0.0)["seconds"]


@pytest.mark.parametrize(
    ("kernel", "own"),
    [
        ("onednn", "onednn_kernels.conv2d"),
        ("conv2d", "numpy_kernels.conv2d"),
        ("conv2d_backward", "numpy_kernels.conv2d_backward"),
        ("max_pool2d", "numpy_pooling.max_pool2d_with_winners"),
        ("softmax_cross_entropy", "numpy_loss.softmax_cross_entropy"),
        ("optimizer_update", "blockwise.optimizer_update"),
    ],
)
def test_a_process_does_without_one_kernel(case, kernel, own):
    """As here, where that kernel is broken: without it the process trains, and fails if another one is left out."""
    if not onednn_kernels.is_available() and kernel == "onednn":
        pytest.skip("oneDNN is not here")

    def broken(*_, **__):
        raise ZeroDivisionError

    def trains(left_out):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table, "TABLE", dict(table.TABLE))
            patch.setattr("xpnet.kernels.blockwise._BLOCK", 1)
            patch.setattr(f"xpnet.kernels.{own}", broken)
            try:
                session = worker.Session(f"xpnet-numpy-without-{left_out}", case.to_json(), "cpu", 1)
                return bool(session.block("train", 0.0)["seconds"])
            finally:
                table._row.cache_clear()

    assert trains(kernel)
    # Whatever NumPy's kernels are measured beside does without oneDNN too, and oneDNN serves before them.
    others = {"onednn": {"optimizer_update"}}.get(kernel, ablation.LEFT_OUT.keys() - {kernel, "optimizer_update"})
    for other in others:
        with pytest.raises(ZeroDivisionError):
            trains(other)
