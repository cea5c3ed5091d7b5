"""ONNX's own cases, and the interface for backends."""

from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.conftest import PRESENT
from tests.emulated_cuda.records import IS_EMULATED
from tests.helpers import refused
from xpnet import backend as backends
from xpnet.onnx import backend, cases
from xpnet.onnx.__main__ import main

TRAINING = ("Adagrad", "Adam", "BatchNormalization", "Momentum", "SoftmaxCrossEntropyLoss")
every_operator = pytest.mark.parametrize("operator", cases.known_operators())


@cache
def by_operator():
    """Cases by operator, expanded forms among them. Not when the tests are collected: to make them takes seconds."""
    found = {}
    for operator, case in cases.claimed():
        found.setdefault(operator.removesuffix(", expanded"), []).append(case)
    return found


def runnable(operator, library):
    return [case for case in by_operator()[operator] if cases.left_out(case, library) is None]


def test_there_are_so_many_cases():
    """An update of onnx may bring more; fewer would mean that the list is not what it was."""
    assert sum(len(runnable(operator, "numpy")) for operator in by_operator()) >= 1300


@pytest.mark.parametrize("library", ["numpy", "torch", "cupy"])
@every_operator
def test_all_cases_of_an_operator(operator, library):
    if library not in PRESENT:
        pytest.skip(f"{library} is not here")
    if library == "cupy" and IS_EMULATED and operator in ("CumProd", "CumSum"):
        pytest.skip("threads of CuPy's kernel miss a barrier, which the emulated device refuses")
    home = backends.resolve("cuda" if library == "cupy" else "cpu", library)
    assert runnable(operator, library)
    for case in runnable(operator, library):
        cases.run(case, home)


@every_operator
def test_cases_on_jax(operator):
    """A few of each: JAX compiles each step of each shape, and all take minutes (``python -m xpnet.onnx``)."""
    pytest.importorskip("jax")
    for case in runnable(operator, "jax")[: 6 if operator in TRAINING else 1]:
        cases.run(case, backends.resolve("cpu", "jax"))


def test_a_case_that_fails_is_found(monkeypatch, capsys):
    (case, *_) = by_operator()["Sign"]
    monkeypatch.setattr(cases, "all_cases", lambda: (case, by_operator()["Abs"][0]))
    monkeypatch.setitem(backend.DOMAINS[""], "Sign", lambda call, x: x)  # pyright: ignore
    with pytest.raises(AssertionError):
        cases.run(case, backends.resolve())
    assert main(["numpy"]) == 1
    printed = capsys.readouterr().out
    assert "| Abs | 1 | 1 |" in printed
    assert "| Sign | 1 | 0 |" in printed
    assert "failed: numpy test_sign" in printed


def test_the_table_of_an_unknown_library(capsys):
    assert main(["tensorflow"]) == 2
    assert capsys.readouterr().err.startswith("error: backend 'tensorflow'")


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "LIBRARY" in capsys.readouterr().out


def model_of(*nodes, inputs=("x",), outputs=("y",), initializers=(), opset=20, columns=3):
    """A model on float32 matrices of so many columns."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", columns]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in outputs],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_arrays_come_out_where_they_came_in():
    model = model_of(helper.make_node("Relu", ["x"], ["y"]))
    x = np.asarray([[-1.0, 0.0, 2.0]], np.float32)
    for library in ("numpy", "torch", "jax"):
        if library != "numpy":
            pytest.importorskip(library)
        home = backends.resolve("cpu", library)
        rep = backend.prepare(model)
        for inputs in ([home.asarray(x)], {"x": home.asarray(x)}, home.asarray(x)):
            (y,) = rep.run(inputs)
            assert backends.backend_of(y).name == library
            assert backends.to_numpy(y).tolist() == [[0.0, 0.0, 2.0]]


def test_a_compiled_model():
    """Where no shape depends on values, JAX compiles the model."""
    jax = pytest.importorskip("jax")
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    shape = onnx.numpy_helper.from_array(np.asarray([0, 2, 1]), "shape")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Reshape", ["p", "shape"], ["y"])]
    rep = backend.prepare(model_of(*nodes, initializers=[weight, shape]))
    x = jax.numpy.ones((4, 3), jax.numpy.float32)
    with refused("jit"):
        jax.jit(lambda x: rep.run([x])[0])(x)
    rep.run([x])
    assert jax.jit(lambda x: rep.run([x])[0])(x).shape == (4, 2, 1)


def test_one_node():
    x = np.asarray([[-1.0, 2.0, 0.0]], np.float32)
    (y,) = backend.run_node(helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5), [x])
    assert y.tolist() == [[-0.5, 2.0, 0.0]]
    assert backend.run_model(model_of(helper.make_node("Neg", ["x"], ["y"])), [x])[0].tolist() == [[1.0, -2.0, 0.0]]


def test_what_is_supported():
    assert backend.supports_device("CPU")
    assert not backend.supports_device("TPU")
    assert backend.is_compatible(model_of(helper.make_node("Relu", ["x"], ["y"])))
    assert not backend.is_compatible(model_of(helper.make_node("LSTM", ["x", "x", "x"], ["y"])))


def test_what_cannot_be_run_is_refused_by_the_node():
    for model in ("net.onnx", b"", None):
        with refused("ModelProto", type(model).__name__, "onnx.load"):
            backend.prepare(model)
    with refused("device", "TPU"):
        backend.prepare(model_of(helper.make_node("Relu", ["x"], ["y"])), "TPU")
    with refused("valid model"):
        backend.prepare(model_of(helper.make_node("Relu", ["z"], ["y"])))
    with refused("opset from 1", "got 99"):
        backend.prepare(model_of(helper.make_node("Relu", ["x"], ["y"]), opset=99))
    integers = onnx.numpy_helper.from_array(np.ones((3, 3), np.int64), "w")
    with refused("valid model", "node name: mixed", "int64"):
        backend.prepare(model_of(helper.make_node("MatMul", ["x", "w"], ["y"], name="mixed"), initializers=[integers]))
    x = np.ones((2, 3), np.float32)
    with refused("'y' (LSTM)", "operator"):
        backend.prepare(model_of(helper.make_node("LSTM", ["x", "x", "x"], ["y"]))).run([x])
    with refused("'bad' (MatMul)"):
        backend.prepare(model_of(helper.make_node("MatMul", ["x", "x"], ["y"], name="bad"))).run([x])
    with refused("input 'x'"):
        backend.prepare(model_of(helper.make_node("Relu", ["x"], ["y"]))).run([])
    foreign = helper.make_node("Relu", ["x"], ["y"], domain="com.example")
    model = model_of(foreign)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with refused("'y' (Relu)", "com.example"):
        backend.prepare(model).run([x])


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_inputs_other_than_the_model_declares_are_refused(library):
    if library != "numpy":
        pytest.importorskip(library)
    home = backends.resolve("cpu", library)
    rep = backend.prepare(model_of(helper.make_node("Relu", ["x"], ["y"])))
    x = home.asarray(np.ones((2, 3), np.float32))
    for inputs, words in (
        ([x, x], ["1 inputs", "got 2"]),
        ({"x": x, "z": x}, ["inputs x", "got 'z'"]),
        ([home.asarray(np.ones((2, 3), np.int32))], ["input 'x'", "float32", "int32"]),
        ([home.asarray(np.ones((2, 4), np.float32))], ["input 'x'", "(?, 3)", "(2, 4)"]),
        ([home.asarray(np.ones((2, 3, 1), np.float32))], ["input 'x'", "(?, 3)", "(2, 3, 1)"]),
    ):
        with refused(*words):
            rep.run(inputs)
    if library != "jax":  # which may have no float64
        with refused("input 'x'", "float32", "float64"):
            rep.run([home.asarray(np.ones((2, 3), np.float64))])


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20], [-5]])
def test_no_array_is_made_of_a_shape_alone(shape):
    tensor = onnx.numpy_helper.from_array(np.asarray(shape), "shape")
    for operator in ("Expand", "ConstantOfShape"):
        inputs = ["x", "shape"] if operator == "Expand" else ["shape"]
        model = model_of(helper.make_node(operator, inputs, ["y"]), initializers=[tensor], columns="m")
        with refused("'y'", operator):
            backend.prepare(model).run([np.ones((1, 1), np.float32)])


@pytest.mark.parametrize("kind", ["initializer", "constant"])
def test_numbers_in_another_file_are_not_read(kind, tmp_path, monkeypatch):
    """A model in memory has no folder, and the working directory is not one."""
    (tmp_path / "w.bin").write_bytes(np.ones((3, 2), np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    tensor = TensorProto(name="w", dims=[3, 2], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    before, initializers = ([constant], []) if kind == "constant" else ([], [tensor])
    model = model_of(*before, helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=initializers)
    with refused("tensor 'w'", "in the model"):
        backend.prepare(model)
    if kind == "constant":
        with refused("tensor 'w'", "in the model"):
            backend.run_node(constant, [])


def test_an_array_for_which_there_is_no_memory_is_refused_by_the_node():
    """2^51 bytes and more, which a process cannot address."""
    vector = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2**48, 1])
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd"))],
        [vector],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with refused("'y' (ConvTranspose)"):
        backend.prepare(model).run([np.ones((1, 1, 3, 3), np.float32)])
