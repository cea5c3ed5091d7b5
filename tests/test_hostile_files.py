"""Damaged and hostile files: every reader reads them or refuses them in one line, in little memory."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.helpers import refused
from tests.hostile import READERS, Trial, _header, _weights
from xpnet import models
from xpnet.cli import evaluate
from xpnet.datasets import cifar10, image_folder
from xpnet.layers import Dense, Sequential
from xpnet.network import Network
from xpnet.runs import checkpoint
from xpnet.serialization import read_tensors, to_config, write_tensors

MEMORY = 40e6  # of what Python and NumPy allocate

every_reader = pytest.mark.parametrize("name", READERS)


@pytest.fixture
def trial(name, tmp_path):
    return Trial(READERS[name], tmp_path)


@every_reader
def test_valid_files_are_read(trial):
    assert all(trial.read(content) for content in trial.reader.valid())


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if not reader.is_image])
def test_a_folder_in_place_of_the_file(trial):
    trial.path.unlink(missing_ok=True)
    trial.path.mkdir()
    with refused(str(trial.folder)):
        trial.reader.read(trial.folder)


interesting = st.sampled_from([b"", b"\0", b"\xff", b"\xff" * 8, b"\x7f" + b"\xff" * 3, b"\0" * 8, b"-1", b"9" * 400])
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "overwrite", "delete", "truncate"]),
        st.floats(0, 1, exclude_max=True),
        interesting | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content, changes):
    """The content with bits flipped, and bytes inserted, overwritten, deleted or cut off."""
    for kind, where, value in changes:
        at = int(where * len(content))
        if kind == "truncate":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + value + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + len(value) :]
        elif kind == "overwrite":
            content = content[:at] + value + content[at + len(value) :]
        elif content:
            bit = 1 << (value[0] % 8 if value else 0)
            content = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
    return content


@every_reader
def test_damage_is_harmless_or_refused(name, tmp_path_factory):
    trial = Trial(READERS[name], tmp_path_factory.mktemp("hostile"))
    valid, outcomes = trial.reader.valid(), []

    @given(st.sampled_from(valid), edits)
    def check(content, changes):
        tracemalloc.start()
        try:
            outcomes.append(trial.read(damaged(content, changes)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY

    check()
    assert trial.reader.is_image or not all(outcomes)


# Layers that a file describes and does not hold


@pytest.mark.parametrize(
    ("layer", "input_shape"),
    [
        ({"type": "Dense", "units": 10**9}, [4]),
        ({"type": "Dense", "units": 10**30}, [4]),
        ({"type": "Dense", "units": 1}, [10**18]),
        ({"type": "BatchNorm"}, [2 * 10**8]),
        ({"type": "Normalize"}, [10, 2 * 10**8]),
        ({"type": "Conv2D", "filters": 1, "kernel": 30_000}, [30_000, 30_000, 3]),
        (
            {
                "type": "Sequential",
                "layers": [
                    ["conv", {"type": "Conv2D", "filters": 1, "kernel": 1, "padding": 10_000}],
                    ["flatten", {"type": "Flatten"}],
                    ["bn", {"type": "BatchNorm"}],
                ],
            },
            [4, 4, 1],
        ),
    ],
)
def test_layers_larger_than_the_file_are_never_built(tmp_path, layer, input_shape):
    path = tmp_path / "w.safetensors"
    path.write_bytes(_weights(json.dumps({**_header(), "layer": layer, "input_shape": input_shape}).encode()))
    tracemalloc.start()
    try:
        with refused(f"Weights file {path}: "):
            Network.load(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"layer": {"type": "Dense", "units": 3, "weight_init": "he"}},
        {"layer": {"type": "Residual", "branch": 3}},
        {"layer": {"type": "Sequential", "layers": [["a\nb", {"type": "ReLU"}]]}},
        {"layer": "Dense"},
        {"input_shape": [True]},
        {"input_shape": [-1, 6, 1]},
        {"dtype": ["float32"]},
        {"dtype": "float16"},
        {"layer": {"type": "ReLU"}},
    ],
)
def test_headers_that_describe_no_network_are_refused_with_the_files_name(tmp_path, change):
    path = tmp_path / "w.safetensors"
    path.write_bytes(_weights(json.dumps({**_header(), **change}).encode()))
    with refused(f"Weights file {path}: its header does not describe a network ("):
        Network.load(path)


@pytest.mark.parametrize(
    ("depth", "digest", "reason"),
    [
        (300, {}, "recursion depth"),
        (50_000, {}, "while decoding a JSON"),
        (300, {"sha256": "0" * 64}, "SHA-256"),
        (50_000, {"sha256": "0" * 64}, "while decoding a JSON"),
    ],
)
def test_a_header_nested_without_end_is_refused(tmp_path, depth, digest, reason):
    layer = '{"type": "Sequential", "layers": [["a", ' * depth + "{}" + "]]}" * depth
    header = json.dumps({**_header(), "layer": "LAYER", **digest}).replace('"LAYER"', layer)
    (tmp_path / "w.safetensors").write_bytes(_weights(header.encode()))
    with refused(f"Weights file {tmp_path / 'w.safetensors'}: ", reason):
        Network.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("read", ["load", "load_tensors", "checkpoint"])
def test_a_header_of_a_million_tensors_is_not_parsed(tmp_path, read):
    """It would take 1.7 GB."""
    path, network = tmp_path / "w.safetensors", Network(Sequential([Dense(3)]), (4,))
    readers = {"load": Network.load, "load_tensors": network.load_tensors, "checkpoint": checkpoint.load}
    header = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(10**6))
    path.write_bytes(struct.pack("<Q", len(header) + 2) + b"{" + header + b"}")
    with refused(f" {path}", "a header of at most 4,194,304 bytes", f"got {len(header) + 2:,}"):
        readers[read](path)


# Values that are not numbers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    path = tmp_path / "w.safetensors"
    network = Network(Sequential([Dense(3)]), (4,))
    network.save(path)
    tensors, header = read_tensors(path)
    tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    tensors["dense1.bias"][1] = value
    write_tensors(path, tensors, header)
    with refused(f"Weights file {path}", "finite float32 values in 'dense1.bias'", "got NaN or infinity"):
        Network.load(path)
    before = network.theta.copy()
    with refused("'dense1.bias'"):
        network.set_tensors(tensors)
    np.testing.assert_array_equal(network.theta, before)
    assert np.isnan(read_tensors(path)[0]["dense1.bias"][1]) == np.isnan(value)  # to look into it


# Pickles


def peak_of(refuse):
    tracemalloc.start()
    try:
        refuse()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# 60,000 numbers whose hashes are all equal; and a tuple of tuples, of 2^60 in all.
COLLIDING = [b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") for n in range(60_000)]
NESTED = b")" + b"".join(b"q\x00h\x00\x86" for _ in range(60))
ARRAY_OF_THAT = b"cnumpy.core.numeric\n_frombuffer\n(U\x01ah\x01K\x01U\x01CtR."


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (b"\x80\x02]r" + struct.pack("<I", 2**31) + b".", "place 2,147,483,648 of the memo after"),
        (b"]p2000000000\n.", "place 2,000,000,000 of the memo after"),
        (b"\x80\x04(" + b"\x8f" * 2**21 + b"l.", "more than 1,048,576 operations"),
        (
            b"\x80\x02c_codecs\nencode\nq\x00X\x40\x42\x0f\x00" + b"a" * 10**6 + b"X\x06\x00\x00\x00latin1\x86q\x01"
            b"0(" + b"h\x00h\x01R" * 500 + b"l.",
            "again and again",
        ),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf_8\x86R.", "encoded in another way"),
        (b"\x80\x02}(" + b"N".join(COLLIDING) + b"Nu.", "other keys than up to 100 texts"),
        (b"\x80\x02(" + b"N".join(COLLIDING) + b"Nd.", "other keys than up to 100 texts"),
        (b"\x80\x02}" + b"Ns".join(COLLIDING) + b"Ns.", "other keys than up to 100 texts"),
        (b"\x80\x04\x8f(" + b"".join(COLLIDING) + b"\x90.", ""),
        (b"\x80\x04(" + b"".join(COLLIDING) + b"\x91.", ""),
        (b"\x80\x02}" + NESTED + b"Ns.", "other keys than up to 100 texts"),
        (b"\x80\x02cnumpy\ndtype\n" + NESTED + b"\x85Rq\x01" + ARRAY_OF_THAT, "an array of <class 'tuple'>"),
        (pickle.dumps({f"{n}": 0 for n in range(101)}, 2), "other keys than up to 100 texts"),
    ],
    ids=[
        "memo",
        "memo in text",
        "sets",
        "encode",
        "codec",
        "dictionary",
        "old dictionary",
        "item by item",
        "colliding set",
        "frozen set",
        "nested key",
        "nested dtype",
        "many keys",
    ],
)
def test_a_pickle_that_would_grow_is_refused(tmp_path, bomb, reason):
    trial = Trial(READERS["cifar10_batch"], tmp_path)
    trial.path.write_bytes(bomb)

    def refuse():
        with refused(f"{trial.path}: expected a complete pickle file, got: ", reason):
            cifar10.load(tmp_path)

    assert peak_of(refuse) < MEMORY


def test_a_batch_longer_than_any_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_MAX_FILE_BYTES", 10_000)
    trial = Trial(READERS["cifar10_batch"], tmp_path)
    trial.path.write_bytes(pickle.dumps({}) + bytes(10_000))
    with refused(f"{trial.path}: expected at most 10,000 bytes, got 10,005."):
        cifar10.load(tmp_path)


# PyTorch's files


def state_dict_file(data_pkl, data=bytes(12), compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {"data.pkl": data_pkl, "byteorder": b"little", "data/0": data, "version": b"3\n"}.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


CALL = b"\x80\x02cbuiltins\nbytearray\nJ\0\0\0\x40\x85R."
LEGACY = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {})) + CALL


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (state_dict_file(CALL), "it names 'builtins bytearray'"),
        (LEGACY, "it names 'builtins bytearray'"),
        (state_dict_file(b"\x80\x02ctorch\nTensor\nK\x05\x85R."), "it names 'torch Tensor'"),
        (state_dict_file(b"\x80\x02}.", bytes(10**7), zipfile.ZIP_DEFLATED), "announce more bytes than its own"),
    ],
    ids=["call", "call in an old file", "tensor by its size", "compressed zeros"],
)
def test_a_state_dict_that_would_grow_is_refused(tmp_path, content, reason):
    pytest.importorskip("torch")
    path = tmp_path / "w.pth"
    path.write_bytes(content)

    def refuse():
        with refused(f"Weights file {path}", "a state_dict of tensors", "got something else (", reason):
            Network(Sequential([Dense(3)]), (4,)).load_tensors(path)

    assert peak_of(refuse) < MEMORY


def test_a_tensor_of_one_value_repeated_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pth"
    torch.save({"dense1.weight": torch.zeros(1, 1).expand(10**9, 10**9)}, path)
    with refused(f"Weights file {path}: ", "'dense1.weight' has more values than the file holds for it"):
        Network(Sequential([Dense(3)]), (4,)).load_tensors(path)


@pytest.mark.parametrize("shape", [(10**12, 0), (10**6, 1), ()])
def test_a_head_of_another_model_makes_no_larger_network(tmp_path, shape):
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"fc.weight": np.zeros(shape, np.float32)}))

    def refuse():
        with refused(f"Weights file {path}: "):
            models.load_weights(path, "resnet18")

    assert peak_of(refuse) < 400e6  # a resnet18 is drawn in float64


# Programs


def run_folder(tmp_path, **changes):
    trial = Trial(READERS["config"], tmp_path)
    config = json.loads(trial.reader.valid()[0])
    trial.path.write_text(json.dumps({**config, **changes}))
    Network(Sequential([Dense(3)]), (4,)).save(tmp_path / "weights.safetensors")
    return trial.path


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "\x1b[31mred\n"},
        {"data_dir": "a\0b"},
        {"data_dir": "\ud800"},
        {"data_dir": "x" * 300},
        {"seed": [[]]},
        {"model_options": 3},
        {"data": "folder", "data_dir": "no such folder"},
    ],
)
def test_a_hostile_config_gives_one_line_and_exit_code_2(tmp_path, capsys, changes):
    run_folder(tmp_path, **changes)
    assert evaluate.main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"seed": ' + "9" * 5000 + "}", " " * (2 << 20) + "{}", "null"])
def test_a_config_that_json_cannot_hold_is_refused(tmp_path, capsys, content):
    run_folder(tmp_path).write_text(content)
    assert evaluate.main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'config.json'}: expected the settings of a run, got something else (")


@pytest.mark.parametrize("name", ["cifar10_batch", "fer2013"])
def test_a_name_too_long_for_the_system_is_refused(tmp_path, name):
    with refused(str(tmp_path)):  # Python 3.14 says that there is no such file
        READERS[name].read(tmp_path / ("x" * 300))


@pytest.mark.parametrize("folder", ["a\0b", "\ud800"])
def test_a_folder_that_no_system_can_hold_is_refused(folder):
    with refused(repr(folder)):
        image_folder.load(folder)


def test_other_safetensors_types_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    header = json.dumps({**_header(), "layer": to_config(Sequential([Dense(1)])), "input_shape": [2]})
    content = save(
        {"dense1.weight": np.zeros((1, 2), np.float16), "dense1.bias": np.zeros(1, np.float16)}, {"xpnet": header}
    )
    path.write_bytes(content.replace(b'"F16"', b'"I16"'))
    with refused("'dense1.weight' to hold float32 numbers, got int16"):
        Network.load(path)
    path.write_bytes(content.replace(b'"F16"', b'"XYZ"'))
    with refused(f"Weights file {path}: not a readable safetensors file ("):
        Network.load(path)
