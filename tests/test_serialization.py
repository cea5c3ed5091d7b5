import builtins
import errno
import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers import refused
from xpnet.errors import InputError
from xpnet.initializers import Normal, glorot_uniform
from xpnet.layers import Conv2D, Dense, Layer, ReLU, Sequential
from xpnet.network import Network
from xpnet.runs import checkpoint
from xpnet.serialization import LARGEST, check_reasonable, from_config, read_tensors, to_config, write_tensors

# Settings


@pytest.mark.parametrize(
    "value",
    [
        Normal(0.01),
        glorot_uniform,
        Conv2D(3, (5, 3), stride=(2, 1), padding=(0, 4), dilation=2, weight_init=Normal(1.0)),
        Conv2D(3, 5, padding="same"),
        Sequential([ReLU(), ("stage", Sequential([("a", Dense(2)), ReLU()]))]),
    ],
)
def test_settings_survive_as_json(value):
    assert from_config(json.loads(json.dumps(to_config(value)))) == value


def test_layers_defined_elsewhere_are_found_by_name():
    @dataclass(frozen=True)
    class LayerOfThisTest(Layer):
        prefix = "own"
        factor: float = 1.0

    assert from_config(to_config(LayerOfThisTest(2.0))) == LayerOfThisTest(2.0)


def test_a_layer_of_ones_own_may_not_take_the_name_of_xpnets():
    with refused("Layer", "a name that xpnet does not use", "got Dense"):
        type("Dense", (Layer,), {"__module__": "notebook"})
    assert Layer.kinds()["Dense"] is Dense
    for _ in range(2):  # a cell that is run again
        type("MyDense", (Layer,), {"__module__": "notebook"})


@pytest.mark.parametrize("kind", ["Perceptron", "os.system", None, 3, ["Dense"]])
def test_unknown_kind(kind):
    with refused("Configuration: expected a known type", f"got {kind!r}.", "Import the module"):
        from_config({"type": kind, "units": 3})


def test_a_mapping_without_a_kind_stays_one():
    """Such as the weights of classes."""
    assert from_config({"units": 3, "layers": [{"type": "ReLU"}]}) == {"units": 3, "layers": (ReLU(),)}


def test_settings_a_layer_does_not_have():
    with refused("Configuration: Dense does not take these settings (", "neurons"):
        from_config({"type": "Dense", "neurons": 3})
    with refused("Dense: expected units to be"):
        from_config({"type": "Dense", "units": "many"})
    with refused("Sequential: expected layers or (name, layer) pairs, got 5."):
        from_config({"type": "Sequential", "layers": [5]})


# Tensors

TENSORS = {
    "conv1.weight": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "reversed": np.arange(3.0)[::-1],
    "step": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 2)),
}


def test_tensors_and_header_survive(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, {"dtype": "float32", "input_shape": [28, 28, 1]})
    tensors, header = read_tensors(str(path))
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, TENSORS[name], strict=True)
    assert header == {"format": 1, "dtype": "float32", "input_shape": [28, 28, 1]}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": np.zeros(1)}, {})

    def disk_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with refused(f"Weights file {path}: cannot be written (No space left on device)."):
        write_tensors(path, {"a": np.ones(1)}, {})
    assert list(tmp_path.iterdir()) == [path]
    assert read_tensors(path)[0]["a"].tolist() == [0.0]


def test_no_such_file(tmp_path):
    for path in (tmp_path / "weights.safetensors", tmp_path):
        with refused(f"Weights file {path}", "a .safetensors file, found none. Check the path."):
            read_tensors(path)


@pytest.mark.parametrize("kind", ["weights", "checkpoint", "weights of PyTorch's or xpnet's"])
def test_a_file_that_must_not_be_read_is_called_that(tmp_path, monkeypatch, kind):
    path = tmp_path / "weights.safetensors"
    network = Network([Dense(1)], (2,))
    network.save(path)
    real = open

    def forbidden(name, *arguments, **settings):
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "open", forbidden)
    read = {"weights": Network.load, "checkpoint": checkpoint.load}.get(kind, network.load_tensors)
    with refused(f" {path}", "a readable file, got: Permission denied. Check the path and its permissions."):
        read(path)


@pytest.mark.parametrize("path", [None, 3])
def test_what_is_not_a_path_is_refused(path):
    network = Network([Dense(1)], (2,))
    for use in (Network.load, network.load_tensors, network.save):
        with refused(f"Weights file {path}", "a path", f"got {type(path).__name__}"):
            use(path)


def test_whichever_bit_flips_the_file_is_refused_or_says_the_same(tmp_path):
    path = tmp_path / "weights.safetensors"
    weight, header = np.arange(6.0).reshape(2, 3), {"units": 3}
    write_tensors(path, {"weight": weight}, header)
    content, refusals = path.read_bytes(), []
    bits = range(0, 8 * len(content), 5)
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            tensors, found = read_tensors(path)
        except InputError as error:
            refusals.append(error)
        else:  # the bit was in the name under which the SHA-256 is found
            assert found.items() >= {"format": 1, **header}.items()
            np.testing.assert_array_equal(tensors["weight"], weight, strict=True)
    assert len(refusals) > 0.9 * len(bits)


def test_tensors_in_the_byte_order_of_another_machine_survive(tmp_path):
    write_tensors(tmp_path / "weights.safetensors", {"a": np.arange(3, dtype=">f4")}, {})
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.safetensors")[0]["a"], np.arange(3, dtype="<f4"))


def test_a_changed_number_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, {})
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with refused(
        f"Weights file {path}: damaged or changed since it was written (its SHA-256 is another). Get a new copy."
    ):
        read_tensors(path)


def test_a_file_from_before_there_was_a_sha256_is_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": np.ones(1)}, path, {"xpnet": '{"format": 1}'})
    assert read_tensors(path)[0]["a"].tolist() == [1.0]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b'\x08\x00\x00\x00\x00\x00\x00\x00{"a": 1}'])
def test_a_file_of_another_format(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with refused(f"Weights file {path}: not a readable safetensors file (", "Get a new copy."):
        read_tensors(path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:-8])
    with refused(f"Weights file {path}: not a readable safetensors file ("):
        read_tensors(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "has no xpnet header. Only files written by xpnet describe a network."),
        ({"made_by": "another program"}, "has no xpnet header."),
        ({"xpnet": "[1, 2]"}, "has no xpnet header."),
        ({"xpnet": "{broken"}, "not a readable safetensors file ("),
        ({"xpnet": '{"format": 99}'}, "expected format 1, got 99. Use the xpnet version that wrote it."),
        ({"xpnet": "{}"}, "expected format 1, got None."),
    ],
)
def test_safetensors_of_another_program_or_version(tmp_path, metadata, message):
    path = tmp_path / "weights.safetensors"
    save_file({"a": np.zeros(1)}, path, metadata)
    with refused(f"Weights file {path}: {message}"):
        read_tensors(path)


@pytest.mark.parametrize("units", [1 << 30, 10**30])
def test_settings_larger_than_any_network_needs(units):
    layers = {"type": "Sequential", "layers": [["a", {"type": "Dense", "units": units}]]}
    with refused("Configuration", f"integers of at most {LARGEST}", f"got {units}"):
        check_reasonable({"layer": layers})
    assert LARGEST**2 * 8 < 1 << 63


def test_settings_that_could_not_be_read_again_are_not_written(tmp_path):
    with refused("Weights file", "at most 4,194,304 bytes", "got 4,20"):
        write_tensors(tmp_path / "a.safetensors", {"a": np.zeros(1)}, {"rows": "0" * 4_200_000})
    assert not list(tmp_path.iterdir())
