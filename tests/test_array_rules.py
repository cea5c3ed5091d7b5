"""The rules of array code, as far as the source shows them.

Names are all that this reads: it cannot prove that a value is an array or that a device is the right one, it does not
see through a function bound to another name, and it passes ``x.sum()`` where only ``xp.sum(x)`` is standard. Tests on
array_api_strict's second device, under jax.jit and on every library find those.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpnet

PACKAGE = Path(xpnet.__file__).parent
OF_ONE_LIBRARY = ("*_kernels.py", "numpy_*.py", "cupy_*.py", "cuda_*.py", "onednn_*.py", "__main__.py")
ARRAY_CODE = sorted(  # kernels for a single library may use all of it
    [
        *(PACKAGE / "layers").rglob("*.py"),
        *set((PACKAGE / "kernels").rglob("*.py"))
        - {path for names in OF_ONE_LIBRARY for path in (PACKAGE / "kernels").rglob(names)},
        *(PACKAGE / "losses").rglob("*.py"),
        *(PACKAGE / "optimizers").rglob("*.py"),
    ]
)
WITHOUT_BRANCHES = [path for path in ARRAY_CODE if PACKAGE / "kernels" not in path.parents]  # which choose
LIBRARIES = ("numpy", "cupy", "torch", "jax")
LIBRARY_TEST = re.compile(r"is_\w+_(array|namespace)|namespace_name|on_accelerator")
CREATION = {"zeros", "ones", "full", "empty", "arange", "linspace", "eye", "asarray"}
HOST_METHODS = {"__init__", "__post_init__", "init", "output_shape"}  # they see settings and shapes, never arrays


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def parse(source: str) -> ast.Module:
    """The syntax tree, in which every node knows the one around it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]
    return tree


def enclosing(node: ast.AST, kinds: type | tuple[type, ...]) -> Iterator[ast.AST]:
    while (node := getattr(node, "parent", None)) is not None:
        if isinstance(node, kinds):
            yield node


def in_function(node: ast.AST, names: set[str]) -> bool:
    return any(function.name in names for function in enclosing(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def in_annotation(node: ast.AST) -> bool:
    """Whether a name is read as a type: of an argument, a variable, or what a function returns."""
    for outer in enclosing(node, ast.AST):
        if isinstance(outer, ast.arg | ast.AnnAssign | ast.FunctionDef):
            annotation = outer.returns if isinstance(outer, ast.FunctionDef) else outer.annotation
            return annotation is not None and node in ast.walk(annotation)
    return False


def violations(source: str) -> list[str]:
    """What in a file of array code breaks a rule, as ``line: rule``."""
    found = []
    for node in ast.walk(parse(source)):
        match node:
            case ast.Name(id="np" | "numpy") if not in_function(node, {"init"}) and not in_annotation(node):
                rule = "NumPy outside init and annotations"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "numpy":
                rule = "names of NumPy without its prefix"
            case ast.Import(names=[ast.alias(name=name, asname=alias)]) if name == "numpy" and alias not in (
                None,
                "np",
            ):
                rule = "NumPy under another name"
            case ast.Call(func=ast.Attribute(value=owner, attr=attribute), keywords=keywords) if attribute in CREATION:
                given = {keyword.arg for keyword in keywords}
                if {"dtype", "device"} <= given or (
                    ast.unparse(owner) in ("np", "numpy") and in_function(node, {"init"})
                ):
                    continue
                rule = f"{attribute} without dtype= and device="
            case ast.Call(func=ast.Name(id="float" | "int" | "bool")) if not in_function(node, HOST_METHODS):
                rule = "a value read back to the host"
            case ast.Call(func=ast.Attribute(attr="item" | "tolist")):
                rule = "a value read back to the host"
            case ast.Attribute(attr="clip"):
                rule = "clip, which waits for the GPU in CuPy"
            case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=2)):
                rule = "x**2 instead of x*x"
            case _:
                continue
        found.append(f"{node.lineno}: {rule}")
    return found


def branches(source: str) -> list[str]:
    """What in a file can tell one array library from another, as ``line: rule``; error messages say more."""
    found = []
    for node in ast.walk(parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if LIBRARY_TEST.fullmatch(name):
                rule = f"{name}, a test of the library"
            case ast.Attribute(value=ast.Name(id="backend") | ast.Attribute(attr="backend"), attr="name"):
                rule = "the name of a backend"
            case ast.Constant(value=str(text)) if text in LIBRARIES:
                rule = f"the name of {text}"
            case ast.Import(names=[ast.alias(name=name)]) | ast.ImportFrom(module=str(name)) if of_one_library(name):
                rule = f"an import of {name}"
            case _:
                continue
        found.append(f"{node.lineno}: {rule}")
    return found


def of_one_library(module: str) -> bool:
    """Whether a module is one of the libraries or a part of it, other than NumPy, which makes initial values."""
    return module.removeprefix("array_api_compat.").split(".")[0] in LIBRARIES[1:]


def test_the_files_are_found():
    names = {relative(path) for path in ARRAY_CODE}
    assert {"layers/conv.py", "kernels/unrolled.py", "losses/classification.py", "optimizers/adam.py"} <= names
    assert {"layers/conv.py", "losses/classification.py", "optimizers/adam.py"} <= {
        relative(path) for path in WITHOUT_BRANCHES
    }


@pytest.mark.parametrize("path", ARRAY_CODE, ids=relative)
def test_array_code_keeps_the_rules(path):
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", WITHOUT_BRANCHES, ids=relative)
def test_layers_losses_and_optimizers_are_the_same_for_every_library(path):
    assert branches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in ARRAY_CODE if PACKAGE / "layers" not in path.parents], ids=relative)
def test_kernels_losses_and_optimizers_do_not_import_numpy(path):
    for node in ast.walk(parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not any(module.split(".")[0] == "numpy" for module in modules)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=relative)
def test_a_file_has_300_lines_at_most(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=relative)
def test_assert_is_for_tests(path):
    """Python drops assert statements under -O, and with them the check of what a user handed in."""
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "source",
    [
        "def forward(x): return np.maximum(x, 0)",
        "zero = np.zeros(1)",
        "from numpy import zeros",
        "import numpy as xp",
        "def init(rng): return xp.zeros(3)",
        "def forward(x): return xp.zeros(3, dtype=x.dtype)",
        "def forward(x): return xp.full((2,), 0.5, device=device(x))",
        "def forward(x): return array_namespace(x).arange(3)",
        "def forward(x): return float(x)",
        "def backward(dy): return [int(n) for n in dy]",
        "def forward(x): return x.max().item()",
        "def forward(x): return xp.clip(x, 0, 1)",
        "def forward(x): return (x - mean) ** 2",
    ],
)
def test_a_broken_rule_is_found(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\ndef init(rng: np.random.Generator) -> np.ndarray: return np.zeros(3)",
        "def forward(x): return xp.zeros(3, dtype=x.dtype, device=device(x))",
        "def forward(x): return xp.zeros_like(x)",
        "def __post_init__(self): self.rate = float(self.rate)",
        "def forward(x): return xp.astype(x > 0, x.dtype) * x ** 3",
    ],
)
def test_what_the_rules_allow(source):
    assert violations(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "def forward(x): return x if is_numpy_array(x) else x.copy()",
        "def forward(x): return array_api_compat.is_torch_namespace(xp)",
        "from array_api_compat import is_jax_array as traced",
        "from xpnet.backend import namespace_name",
        "def forward(x): return place(x)[0] == 'torch'",
        "def forward(backend): return backend.name in fast",
        "def forward(self): return self.backend.name",
        "import torch.nn.functional as F",
        "def forward(x):\n    import cupy",
        "from jax import lax",
        "import array_api_compat.torch as xp",
        "import_module('jax')",
    ],
)
def test_a_branch_by_library_is_found(source):
    assert branches(source)


def test_what_is_no_branch_by_library():
    assert branches("import numpy as np\nfrom array_api_compat import device\nname = layer.name\nx = 'torch.'") == []
