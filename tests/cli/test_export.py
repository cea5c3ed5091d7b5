import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from xpnet.cli.export import main  # noqa: E402
from xpnet.cli.features import main as features  # noqa: E402
from xpnet.cli.train import main as train  # noqa: E402
from xpnet.network import Network  # noqa: E402


@pytest.fixture
def exported(finished_run, tmp_path):
    folder, _ = finished_run
    path = tmp_path / "net.onnx"
    assert main([str(folder), "--out", str(path)]) == 0
    return folder, path


def test_a_finished_run_becomes_a_file(finished_run, tmp_path, capsys):
    folder, path = finished_run[0], tmp_path / "net.onnx"
    assert main([str(folder), "--out", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(path), full_check=True)
    ours, theirs = Network.load(folder / "weights.safetensors"), Network.from_onnx(path)
    x = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1)).astype("float32")
    np.testing.assert_allclose(theirs(x), ours(x), rtol=1e-4, atol=1e-4)
    assert theirs.class_names == tuple(str(digit) for digit in range(10))


def test_features_of_a_file(exported, tmp_path, capsys):
    from PIL import Image

    _, path = exported
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "digit.png")
    assert features([str(tmp_path / "digit.png"), "--weights", str(path)]) == 0
    assert "conv1" in capsys.readouterr().out


def test_training_goes_on_from_a_file(exported, digits_folder, tmp_path):
    folder, path = exported
    words = ["--data-dir", str(digits_folder), "--iterations", "1", "--out", str(tmp_path / "run"), "--no-plots"]
    assert train([*words, "--weights", str(path), "--lr", "1e-9", "--threads", "1", "--no-malloc-tuning"]) == 0
    ours, theirs = (Network.load(at / "weights.safetensors") for at in (folder, tmp_path / "run"))
    for name, tensor in ours.tensors().items():
        np.testing.assert_allclose(theirs.tensors()[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--opset", "3"], "opset"), (["--out", "none/net.onnx"], "--out none/net.onnx"), (["--out", "."], "folder")],
)
def test_bad_flags_give_one_line_and_exit_code_2(finished_run, capsys, flags, message):
    assert main([str(finished_run[0]), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_folder_that_is_not_a_run(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
