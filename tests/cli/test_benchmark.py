import json
import sys

import numpy as np
import pytest

from tests.helpers import files_of_at_most, refused
from xpnet import plots
from xpnet.benchmark import controller, scaling
from xpnet.benchmark.cases import PLANS, find_cases
from xpnet.benchmark.implementation import GPU_PURE
from xpnet.benchmark.profile import Cost, Profile
from xpnet.cli import benchmark, common
from xpnet.cli.benchmark import main

QUICK = ("--models", "mnist_starter", "--batch-sizes", "2", "--rounds", "1", "--threads", "1")
PROFILE = Profile(
    [Cost("conv1", "Conv2D", 2.0, 1.0, 0.3, 0.9, 5.0), Cost("loss", "", 1.0, 0.0, 0.0, 0.0, 3.0)], 600.0, copy_rate=10.0
)
KEYS = {
    *("model", "batch_size", "mode", "implementation", "median_ms", "p10_ms", "p90_ms", "images_per_second"),
    *("peak_memory_mb", "ratio_to_torch"),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(controller, "BLOCK_SECONDS", 0.01)
    monkeypatch.setattr(controller, "PROFILE_SECONDS", 0.01)
    monkeypatch.setenv("PYTHONPATH", sys.path[0])


def test_table_json_and_chart(tmp_path, capsys):
    pytest.importorskip("torch")
    paths = [tmp_path / name for name in ("rows.json", "chart.png")]
    assert main([*QUICK, "--peers", "torch", "--json", str(paths[0]), "--plot", str(paths[1])]) == 0
    output = capsys.readouterr().out
    content = json.loads(paths[0].read_text())
    assert {"cpu", "threads", "blas", "OPENBLAS_CORETYPE", "malloc", "gpu", "versions"} <= set(content["environment"])
    assert content["environment"]["threads"] == 1
    assert content["environment"]["versions"]["numpy"] == np.__version__
    assert all(set(row) == KEYS for row in content["rows"])
    assert {(row["mode"], row["implementation"]) for row in content["rows"]} == {
        (mode, name) for mode in ("train", "predict") for name in ("xpnet-numpy", "xpnet-torch", "torch")
    }
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert "mnist_starter, batches of 2" in output
    assert "\x1b" not in output
    assert any(line.split()[:2] == ["train", "xpnet-numpy"] for line in output.splitlines())


def test_profile(tmp_path, capsys):
    path = tmp_path / "costs.json"
    assert main([*QUICK, "--profile", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows][1:3] == ["conv1", "relu1"]
    assert {row["implementation"] for row in rows} == {"xpnet-numpy"}
    by_name = {row["name"]: row for row in rows}
    assert by_name["conv2"]["forward_gflop"] == pytest.approx(2 * 2 * 14 * 14 * 16 * 16 * 25 * 1e-9)
    assert by_name["conv1"]["backward_gflop"] == by_name["conv1"]["forward_gflop"]  # images need no gradient
    assert by_name["conv2"]["backward_gflop"] == 2 * by_name["conv2"]["forward_gflop"]
    assert "a training step of xpnet-numpy by layer" in capsys.readouterr().out


@pytest.mark.parametrize("installed", [True, False])
def test_on_a_gpu_cudnn_is_profiled_beside_the_pure_kernels(monkeypatch, tmp_path, capsys, installed):
    monkeypatch.setattr(benchmark, "is_installed", lambda name: installed)
    monkeypatch.setattr(controller, "profile", lambda case, name, **where: PROFILE)
    path = tmp_path / "costs.json"
    run = benchmark._Run(common.make_console(), {}, "xpnet-cupy", "cuda:0", 1, 1)
    assert benchmark._profile(run, find_cases("lenet5"), str(path)) == 0
    names = ["xpnet-cupy", *(["xpnet-cupy-cudnn"] if installed else [])]
    rows = json.loads(path.read_text())["rows"]
    assert [row["implementation"] for row in rows if row["name"] == "conv1"] == names
    assert [(row["products_ms"], row["traffic_ms"]) for row in rows] == [pytest.approx((2.0, 0.8))] * len(rows)
    output = capsys.readouterr().out
    assert [f"a training step of {name} by layer" in output for name in names] == [True] * len(names)
    assert [line.split() for line in output.splitlines() if line.split()[:1] == ["conv1"]] == [
        ["conv1", "Conv2D", "2.000", "1.000", "75.00%", "400"]
    ] * len(names)
    for bound in ("600 GFLOP/s", "10 GB/s", "2.000 ms", "0.800 ms", "2.0 times the larger"):
        assert output.count(bound) == len(names)
    assert ("xpnet-cupy-cudnn is left out" in output) is not installed


def test_a_profile_that_cannot_be_made_is_one_line_and_exit_code_1(monkeypatch, capsys):
    def profile(case, name, **where):
        if case.batch_size == 16:
            raise controller.WorkerError("MemoryError: no room")
        return PROFILE

    monkeypatch.setattr(controller, "profile", profile)
    assert main(["--models", "mnist_starter", "--batch-sizes", "16,128", "--profile"]) == 1
    output = capsys.readouterr().out
    assert output.count("xpnet-numpy left out for mnist_starter: MemoryError: no room\n") == 1
    assert "mnist_starter, batches of 128: a training step" in output


def test_what_is_named_twice_is_measured_once(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "is_installed", lambda name: True)
    monkeypatch.setattr(
        controller, "measure", lambda case, names, *rest, **settings: seen.append((case.batch_size, names)) or []
    )
    main(["--models", "lenet5, lenet5", "--batch-sizes", "4,2,4", "--peers", "torch,torch"])
    assert seen == [(size, ["xpnet-numpy", "xpnet-torch", "torch"]) for size in (4, 2)]


def test_scaling(monkeypatch, tmp_path, capsys):
    sweeps = {name: cases[:1] for name, cases in scaling.SWEEPS.items()}
    monkeypatch.setattr(scaling, "SWEEPS", sweeps)
    monkeypatch.setattr(
        scaling,
        "measure",
        lambda case, names, say, **settings: [
            controller.Row(case.model, case.batch_size, "train", name, 2.0, 1.0, 3.0, 500.0, None, None)
            for name in names
        ],
    )
    paths = [tmp_path / name for name in ("points.json", "growth.png")]
    flags = ["--scaling", "--peers", "none", "--json", str(paths[0]), "--plot", str(paths[1])]
    assert main(flags) == 0
    points = json.loads(paths[0].read_text())["rows"]
    assert [point["varied"] for point in points] == list(sweeps)
    assert paths[1].is_file()
    assert capsys.readouterr().out.count("2000.0 us per image") == 4


def test_a_missing_peer_is_announced_in_one_line_and_left_out(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(benchmark, "is_installed", lambda name: name != "jax")
    monkeypatch.setattr(controller, "measure", lambda case, names, *rest, **settings: seen.append(names) or [])
    assert main([*QUICK, "--peers", "torch,jax"]) == 1
    assert seen == [["xpnet-numpy", "xpnet-torch", "torch"]]
    assert capsys.readouterr().out.count('jax is left out, it is not installed: pip install "xpnet[jax]"\n') == 1


def test_pure_kernels_are_compared_with_those_of_their_library(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "is_installed", lambda name: True)
    monkeypatch.setattr(controller, "measure", lambda case, names, *rest, **settings: seen.append(names) or [])
    main([*QUICK, "--peers", "xpnet-numpy-pure,xpnet-torch-pure"])
    assert seen == [["xpnet-numpy", "xpnet-torch", "xpnet-numpy-pure", "xpnet-torch-pure"]]


def test_scikit_learn_is_for_mlp_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "is_installed", lambda name: True)
    monkeypatch.setattr(controller, "measure", lambda case, names, *rest, **settings: seen.append(names) or [])
    main(["--models", "lenet5,mlp", "--peers", "sklearn"])
    assert seen == [["xpnet-numpy"], ["xpnet-numpy", "sklearn"]]


@pytest.mark.parametrize("installed", [True, False])
def test_on_a_gpu_cudnns_convolutions_are_measured_beside_the_pure_ones(monkeypatch, capsys, installed):
    monkeypatch.setattr(benchmark, "is_installed", lambda name: installed)
    run = benchmark._Run(common.make_console(), {}, "xpnet-cupy", "cuda:0", 1, 1)
    names = benchmark._implementations(run, ["torch"])
    more = ["xpnet-cupy-cudnn", "xpnet-cupy-cudnn-graph", "xpnet-torch", "torch"]
    assert names == ["xpnet-cupy", "xpnet-cupy-graph", *(more if installed else [])]
    said = 'xpnet-cupy-cudnn is left out, cuDNN is not installed: pip install "xpnet[cudnn]"\n'
    assert (said in capsys.readouterr().out) is not installed


def test_each_device_has_its_own_peers():
    assert "torch-graphs" in benchmark._peers(None, "cuda:0")
    assert "sklearn" not in benchmark._peers(None, "cuda:0")
    assert "torch-graphs" not in benchmark._peers(None, "cpu")
    assert benchmark._peers(["torch-graphs"], "cuda:0") == ["torch-graphs"]
    assert benchmark._peers(["none"], "cuda:0") == []
    assert benchmark._peers(["xpnet-torch-pure"], "cuda:0") == ["xpnet-torch-pure"]
    assert GPU_PURE == ("xpnet-torch-pure", "xpnet-jax-pure")
    assert not any("pure" in name for device in ("cpu", "cuda:0") for name in benchmark._peers(None, device))
    with refused("Benchmark", "got xpnet-numpy-pure", "Leave it out."):
        benchmark._peers(["xpnet-numpy-pure"], "cuda:0")
    with refused("Benchmark", "expected peers on cuda:0 of torch,", "got sklearn", "Leave it out."):
        benchmark._peers(["torch", "sklearn"], "cuda:0")


@pytest.mark.parametrize("flags", [(), ("--precision", "tf32")])
def test_precision_is_part_of_the_case_and_of_what_is_written(monkeypatch, tmp_path, flags):
    seen, path = [], tmp_path / "rows.json"
    row = controller.Row("mnist_starter", 2, "train", "xpnet-numpy", 2.0, 1.0, 3.0, 500.0, None, None)
    monkeypatch.setattr(controller, "measure", lambda case, *rest, **settings: seen.append(case.precision) or [row])
    assert main([*QUICK, "--peers", "none", "--json", str(path), *flags]) == 0
    assert seen == [json.loads(path.read_text())["environment"]["precision"]] == [flags[1] if flags else "float32"]


def test_a_full_disk_leaves_the_rows_of_before(monkeypatch, tmp_path, capsys):
    path = tmp_path / "rows.json"
    path.write_text("{}")
    row = controller.Row("mnist_starter", 2, "train", "xpnet-numpy", 2.0, 1.0, 3.0, 500.0, None, None)
    monkeypatch.setattr(controller, "measure", lambda *_, **__: [row])
    with files_of_at_most(100):
        assert main([*QUICK, "--peers", "none", "--json", str(path)]) == 2
    expected = f"error: {path}: cannot be written (File too large)"
    error = capsys.readouterr().err
    assert error.startswith(expected)
    assert error.count("\n") == 1
    assert path.read_text() == "{}"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "cuda"], "CuPy is not installed"),
        (["--models", "lenet"], "Did you mean 'lenet5'?"),
        (["--peers", "pytorch"], "expected one of torch,"),
        (["--peers", "torch-graphs"], "expected peers on cpu of torch,"),
        (["--rounds", "0"], "expected --rounds to be an integer of at least 1"),
        (["--threads", "0"], "expected --threads to be an integer of at least 1"),
        (["--threads", "100000"], "expected --threads of at most "),
        (["--batch-sizes", "0"], "expected --batch-sizes to be an integer of at least 1, got 0."),
        (["--batch-sizes", "2,x"], "expected --batch-sizes to be an integer of at least 1, got 'x'."),
        (["--batch-sizes", "1.5"], "expected --batch-sizes to be an integer of at least 1, got '1.5'."),
        (["--profile", "--scaling"], "got both"),
        (["--precision", "tf32", "--scaling"], "Leave --precision out."),
        (["--scaling", "--models", "lenet5"], "a network of its own"),
        (["--scaling", "--batch-sizes", "4"], "a network of its own"),
        (["--profile", "--peers", "torch"], "--profile of xpnet alone"),
        (["--precision", "tf31"], "tf31"),
        (["--json", "nowhere/at/all.json"], "Make the folder first."),
        (["--json", "."], "--json .: expected a file, got a folder. Add a file's name."),
        (["--json", "/dev/stdout"], "--json /dev/stdout: expected a file, got a"),
        (["--plot", "chart.foo"], "Plot chart.foo: expected a name that ends in .png, .pdf or .svg, got '.foo'."),
        (["--plot", "chart"], "Plot chart: expected a name that ends in .png, .pdf or .svg, got ''."),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, flags, words):
    monkeypatch.setitem(sys.modules, "cupy", None)
    try:
        code = main(flags)
    except SystemExit as end:
        code = end.code
    assert code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_help_names_every_model_and_default(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(model in text for model in PLANS)
    assert text.count("default:") == 11


def test_bars_are_relative_to_torch():
    def row(mode, name, median):
        return controller.Row("lenet5", 8, mode, name, median, median / 2, 2 * median, 1.0, None, None)

    rows = [row("train", "xpnet-numpy", 2.0), row("train", "torch", 4.0), row("predict", "xpnet-numpy", 1.0)]
    groups, panels, reference = benchmark._bars(rows)
    assert (groups, reference) == (["lenet5, 8"], "torch")
    np.testing.assert_array_equal(panels["Training step"]["xpnet-numpy"], [[0.5, 0.25, 1.0]])
    assert np.isnan(panels["Inference"]["xpnet-numpy"]).all()
    figure = plots.relative_times(groups, panels, reference)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.5, 1.0]
    assert benchmark._bars(rows[:1])[2] == "xpnet-numpy"


@pytest.mark.parametrize(("own", "device"), [("xpnet-numpy", "cpu"), ("xpnet-cupy", "cuda:0")])
def test_no_two_implementations_look_alike_in_the_chart(monkeypatch, own, device):
    monkeypatch.setattr(benchmark, "is_installed", lambda name: True)
    run = benchmark._Run(common.make_console(), {}, own, device, 1, 1)
    names = benchmark._implementations(run, benchmark._peers(None, device))
    figure = plots.relative_times(["lenet5, 8"], {"Training step": dict.fromkeys(names, np.ones((1, 3)))}, "torch")
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in figure.axes[0].patches}
    assert len(looks) == len(names)


def test_growth_is_drawn_against_the_multiplications():
    case = scaling.plain_network(side=8, channels=4, depth=2)
    assert case.layer.multiplications(case.input_shape) == 8 * 8 * 9 * (3 * 4 + 4 * 4) + 4 * 10

    def point(value, multiplications, speed):
        row = controller.Row("plain", 32, "train", "xpnet-numpy", 1.0, 1.0, 1.0, speed, None, None)
        return scaling.Point("channels", value, multiplications, row)

    panel = scaling.curves([point(4, 100, 2e6), point(8, 400, 1e6)])["channels"]
    np.testing.assert_allclose(panel["xpnet-numpy"], [[4, 0.5], [8, 1.0]])
    np.testing.assert_allclose(panel[scaling.WORK], [[4, 0.25], [8, 1.0]])


def test_each_sweep_varies_one_thing():
    settings = {
        varied: {(case.batch_size, case.input_shape, case.layer) for _, case in cases}
        for varied, cases in scaling.SWEEPS.items()
    }
    for varied, cases in scaling.SWEEPS.items():
        assert len(settings[varied]) == len(cases) >= 4
    base = scaling.plain_network()
    assert all((base.batch_size, base.input_shape, base.layer) in found for found in list(settings.values())[1:])
