"""The docstrings of public names, as the API reference shows them."""

import dataclasses
import inspect
import re
from enum import Enum
from importlib.util import find_spec

import pytest

from docs._ext.public import MODULES, exported, members
from xpnet.layers import Layer
from xpnet.layers.examples import EXAMPLES

OPTIONAL = {"onnx", "sklearn"}
# What has a section of its own: errors, sources, and formulas, which are ``.. math::`` in Notes.
OUT_OF_PLACE = re.compile(r"\bRaises \w+Error\b|\bSource: |^    \S|^\.\. math::", re.MULTILINE)
LAYERS = sorted({type(example.layer) for example in EXAMPLES}, key=lambda kind: kind.__name__)
MOST_UNDESCRIBED = 6  # arguments of a class or function that has no section for them
# Of numpydoc: there is a summary, a sentence on one line; sections are known and in order; arguments are those of the
# code, in order, each described by sentences.
CHECKS = {
    *("GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10", "SS01", "SS03", "SS04", "SS06"),
    *("PR01", "PR02", "PR03", "PR05", "PR06", "PR07", "PR09", "PR10", "RT03", "RT04", "RT05"),
}


@pytest.fixture(params=MODULES)
def module(request):
    for library in OPTIONAL:
        if f".{library}" in request.param and not find_spec(library):
            pytest.skip(f"{library} is not here")
    return request.param


def public_docstrings(module):
    """Paths and values of what the reference shows of a module: its names and the members of its classes."""
    for name in exported(module):
        if name.is_code:
            yield name.path, name.value
            for member in () if is_layer(name) or not inspect.isclass(name.value) else members(name.value):
                yield f"{name.path}.{member}", getattr(name.value, member)


def is_layer(name):
    """Whether the layer book shows it, with its settings."""
    return inspect.isclass(name.value) and issubclass(name.value, Layer) and name.value is not Layer


def test_public_names_have_numpydoc_docstrings(module):
    validate = pytest.importorskip("numpydoc.validate").validate
    docstrings, wrong = list(public_docstrings(module)), []
    assert docstrings
    for path, value in docstrings:
        found = [(code, text) for code, text in validate(path)["errors"] if code in CHECKS]
        if not describes_arguments(value):  # a section that is there has all of them
            found = [(code, text) for code, text in found if code != "PR01"]
        wrong += [f"{path}: {code} {text}" for code, text in found]
    assert not wrong, "\n".join(wrong)


def test_errors_sources_and_formulas_are_in_their_sections(module):
    for path, value in public_docstrings(module):
        before_sections = re.split(r"^\w+\n-{3,}$", inspect.getdoc(value), maxsplit=1, flags=re.MULTILINE)[0]
        assert not OUT_OF_PLACE.search(before_sections), path


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_a_layer_has_its_formulas_its_settings_and_its_source(kind):
    parts = re.split(r"^(\w+)\n-{3,}$", inspect.getdoc(kind), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert "Backward" in sections["Notes"] or "dx =" in sections["Notes"]
    assert ".. math::" in sections["Notes"]
    assert sections["References"].strip()
    if kind.__name__ != "Sequential":  # whose only setting the summary is about
        names = {
            name for row in sections.get("Parameters", "").splitlines() if row[:1] != " " for name in row.split(", ")
        }
        assert names - {""} == {field.name for field in dataclasses.fields(kind)}


def test_what_takes_many_arguments_describes_each(module):
    for name in exported(module):
        is_called = name.is_code and not (inspect.isclass(name.value) and issubclass(name.value, Exception | Enum))
        if is_called and not is_layer(name) and len(inspect.signature(name.value).parameters) > MOST_UNDESCRIBED:
            assert describes_arguments(name.value), name.path


def describes_arguments(value):
    return "Parameters\n----------\n" in (inspect.getdoc(value) or "")


def test_the_front_door_shows_examples():
    for name in exported("xpnet"):
        if not issubclass(name.value, Exception):
            assert ">>> " in (inspect.getdoc(name.value) or ""), name.path
