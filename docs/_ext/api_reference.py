"""The API reference: a page for each public module, and links to it wherever a page names what it holds."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from public import MODULES, Name, exported, members
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from xpnet.layers import Layer

_UNDERLINE = re.compile(r"-{3,}")
_LEADS = r"(^|  |\n)(Backward|Shapes|Params|State|Memory)\b"  # words that begin the usual sentences
_LITERAL = r"(``[^`]*``)"


def write_pages(folder: Path) -> None:
    """Write a page for each public module and an index of all, and remove what was there."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    shown: dict[int, str] = {}  # a name that several modules export is on the page of the first
    for module in MODULES:
        (folder / f"{module}.rst").write_text(_page(module, shown), encoding="utf-8")
    (folder / "index.rst").write_text(_index(), encoding="utf-8")


def _page(module: str, shown: dict[int, str]) -> str:
    layers, own, elsewhere = [], [], []
    for name in exported(module):
        if name.is_code and id(name.value) in shown:
            elsewhere.append(shown[id(name.value)])
        elif inspect.isclass(name.value) and issubclass(name.value, Layer) and name.value is not Layer:
            layers.append(name.path)
        else:
            own.append(name)
            shown[id(name.value)] = name.path
    parts = [_heading(module), f".. automodule:: {module}", f".. currentmodule:: {module}"]
    if layers:
        parts.append(f"Each layer has a page in the :doc:`layer book </layers/index>`: {_links(layers)}.")
    names = "\n".join(f"   {name.path.removeprefix(module + '.')}" for name in own)
    parts.append(f".. autosummary::\n   :nosignatures:\n\n{names}")
    if elsewhere:
        parts.append(f"Also here: {_links(elsewhere)}.")
    return "\n\n".join([*parts, *map(_directive, own)]) + "\n"


def _directive(name: Name) -> str:
    if not inspect.isclass(name.value):
        hidden = "\n   :no-value:" if isinstance(name.value, Mapping) else ""
        return f".. {'autofunction' if name.is_code else 'autodata'}:: {name.path}{hidden}"
    listed = ", ".join(members(name.value))
    return f".. autoclass:: {name.path}" + (f"\n   :members: {listed}" if listed else "")


def _index() -> str:
    rows = "\n".join(f"   {module}" for module in MODULES)
    about = "The public names, by module. Each layer has a page of its own in the :doc:`layer book </layers/index>`."
    parts = [_heading("API reference"), about, f".. autosummary::\n\n{rows}"]
    return "\n\n".join([*parts, f".. toctree::\n   :hidden:\n\n{rows}"]) + "\n"


def _heading(text: str) -> str:
    return f"{text}\n{'=' * len(text)}"


def _links(paths: list[str]) -> str:
    return ", ".join(f":py:obj:`~{path}`" for path in paths)


def as_rst(lines: list[str], annotations: dict[str, str]) -> list[str]:
    """A docstring in numpydoc's form as reStructuredText, for numpydoc to go on with.

    Prose is escaped, the words that begin the usual sentences are bold, and the types of arguments are those of the
    code.
    """
    result, section = [], ""
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        rows = paragraph.splitlines()
        if len(rows) > 1 and _UNDERLINE.fullmatch(rows[1]):
            section, result, rows = rows[0], [*result, *rows[:2]], rows[2:]
        if section == "Parameters":
            rows = [_with_type(row, annotations) for row in rows]
        if section in ("", "Notes", "References") and rows and not rows[0].startswith((".. math::", "    ", ">>>")):
            text = re.sub(_LEADS, r"\n\n**\2**", _escaped("\n".join(rows))).strip()
            rows = text.splitlines()
        elif section not in ("", "Notes", "References", "Examples"):
            rows = [_escaped(row) if row.startswith("    ") else row for row in rows]
        result += [*rows, ""]
    return result


def _with_type(names: str, annotations: dict[str, str]) -> str:
    """The line that names an argument, or several of one type."""
    kinds = {annotations.get(name.lstrip("*")) for name in names.split(", ")}
    kind = kinds.pop()
    return names if kinds or kind is None else f"{names} : {kind}"


def _escaped(text: str) -> str:
    """Text in which the signs that reStructuredText takes for markup are only themselves."""
    return re.sub(_LITERAL + r"|([*|]|_(?=\W|$))", lambda found: found[1] or "\\" + found[2], text)


def _on_docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    if what == "data":
        lines[:] = _comment(name, value)
    lines[:] = as_rst(lines, _annotations(value) if inspect.isclass(value) or inspect.isroutine(value) else {})


def _comment(path: str, value: Any) -> list[str]:
    """What stands below data where they are defined, in the module that exports them or one below it."""
    package, _, name = path.rpartition(".")
    for module in [one for one in sys.modules if one.startswith(package)]:
        if getattr(sys.modules[module], name, None) is value:
            analyzer = ModuleAnalyzer.for_module(module)
            analyzer.analyze()
            if ("", name) in analyzer.attr_docs:
                return list(analyzer.attr_docs["", name])
    raise ValueError(f"{path}: expected a docstring below it, found none. Write one.")


def _annotations(value: Any) -> dict[str, str]:
    """The types of arguments, as the code has them."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # one that is not Python's
        return {}
    return {one.name: one.annotation for one in parameters if isinstance(one.annotation, str)}


def _on_signature(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Defaults without their own settings, and what a function returns."""
    short = signature and re.sub(r"=([A-Z]\w*)\([^()]*\)", r"=\1()", signature)
    if inspect.isclass(value) or not inspect.isroutine(value):
        return short, returned
    kind = inspect.signature(value).return_annotation
    if not isinstance(kind, str) or kind == "None":
        return short, None
    return short, re.sub(r"\w+", lambda found: _classes().get(found[0], found[0]), kind)


@cache
def _classes() -> dict[str, str]:
    """The path of each public class by its name."""
    names = [name for module in reversed(MODULES) for name in exported(module) if inspect.isclass(name.value)]
    return {name.value.__name__: name.path for name in names}


class LinkNames(SphinxPostTransform):
    """Make links of the names of public things that stand as code in the text of any page."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Sphinx calls this for each page."""
        targets = _targets(self.env)
        for literal in list(self.document.findall(nodes.literal)):
            place = targets.get(literal.astext().removesuffix("()"))
            is_free = isinstance(literal.parent, nodes.paragraph | nodes.term | nodes.entry)
            if place is None or not is_free:
                continue
            docname, anchor = place
            if docname == self.env.docname and _describes(literal, anchor):
                continue
            link = make_refnode(self.app.builder, self.env.docname, docname, anchor, literal.deepcopy())
            literal.replace_self(link)


def _describes(node: nodes.Node | None, anchor: str) -> bool:
    """Whether a node is part of the description with this anchor."""
    while node is not None:
        if isinstance(node, addnodes.desc) and anchor in node[0]["ids"]:
            return True
        node = node.parent
    return False


def _targets(env: Any) -> dict[str, tuple[str, str]]:
    """Where each name is described, by its path and by the shorter forms that mean nothing else."""
    objects = env.domains.python_domain.objects
    places: dict[str, tuple[str, str]] = {}
    forms: Counter[str] = Counter()
    own = {path: entry for path, entry in objects.items() if not entry.aliased}
    for path, entry in own.items():
        parts = path.split(".")
        shorter = {path, path.removeprefix("xpnet."), ".".join(parts[-2:])}
        if parts[-1][0].isupper():
            shorter.add(parts[-1])
        for form in shorter:
            forms[form] += 1
            places[form] = entry.docname, entry.node_id
    return {form: place for form, place in places.items() if forms[form] == 1 and ("." in form or form[0].isupper())}


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "api"))
    app.connect("autodoc-process-docstring", _on_docstring, priority=400)  # before numpydoc
    app.connect("autodoc-process-signature", _on_signature)
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True}
