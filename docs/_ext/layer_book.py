"""The layer book: a page for each layer, made from its class, its examples and the table of kernels."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import datasets, initializers, layers
from xpnet.kernels import table
from xpnet.layers.examples import EXAMPLES, Example
from xpnet.plots import style
from xpnet.random import make_key

FAMILIES = {
    "Dense and convolution": ("dense", "conv", "depthwise", "conv_transpose"),
    "Pooling and resizing": ("pooling", "global_pooling", "upsample"),
    "Activations": ("activations", "rectifiers", "gates"),
    "Normalisation": ("normalization", "example_normalization", "local_response"),
    "Regularisation": ("dropout",),
    "Sequences and attention": ("sequences", "attention"),
    "Structure": ("containers", "branches", "scale_by", "reshape"),
}
LIBRARIES = {"numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "jax": "JAX", None: "any"}
SHOWN = (  # on a digit of 28 x 28 pixels
    layers.Conv2D(1, kernel_size=3, padding="same"),
    layers.DepthwiseConv2D(5, padding="same"),
    layers.ConvTranspose2D(1, kernel_size=2, stride=2),
    layers.MaxPool2D(2),
    layers.AvgPool2D(2),
    layers.AdaptiveAvgPool2D((7, 10)),
    layers.Upsample2D(2, mode="bilinear"),
    layers.Dropout(0.3),
)


def public_layers() -> list[type[layers.Layer]]:
    """The classes of layers that ``xpnet.layers`` exports and that have an example."""
    found = {type(example.layer): None for example in EXAMPLES}
    return sorted(found, key=lambda kind: kind.__name__.lower())


def write_pages(folder: Path) -> None:
    """Write a page for each layer and an index of all, and remove what was there."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    kinds = public_layers()
    for kind in kinds:
        (folder / f"{kind.__name__}.md").write_text(page(kind, folder), encoding="utf-8")
    (folder / "index.md").write_text(_index(kinds), encoding="utf-8")


def page(kind: type[layers.Layer], folder: Path) -> str:
    """One layer's page."""
    examples = [example for example in EXAMPLES if type(example.layer) is kind]
    parts = [f"# {kind.__name__}", _description(kind)]
    figure, words = _figure(kind, examples[0])
    style.save(figure, folder / f"{kind.__name__}.svg")
    parts.append(f"```{{figure}} {kind.__name__}.svg\n:alt: {words.partition('.')[0]}\n\n{words}\n```")
    parts += ["## Examples", _program(examples[0]), *map(_example, examples[1:])]
    operations = sorted({operation for example in examples for operation in _operations(example)})
    if operations:
        parts += ["## Kernels", "The modules of `xpnet/kernels/` that may compute it, in order of preference:"]
        parts.append(_kernels(operations))
    source = Path(inspect.getfile(kind)).relative_to(Path(layers.__file__).parents[2])
    parts.append(f"Written in `{source}`.")
    return "\n\n".join(parts) + "\n"


def _index(kinds: list[type[layers.Layer]]) -> str:
    parts = ["# Layer book", "Each layer with its formulas, shapes, source, examples, and the kernels that compute it."]
    for family, modules in FAMILIES.items():
        names = [kind.__name__ for kind in kinds if kind.__module__.rpartition(".")[2] in modules]
        rows = [f"| [{name}]({name}.md) | {_summary(name)} |" for name in names]
        parts.append(f"## {family}\n\n| layer | |\n|---|---|\n" + "\n".join(rows))
    toc = "\n".join(kind.__name__ for kind in kinds)
    return "\n\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{toc}\n```"]) + "\n"


def _summary(name: str) -> str:
    """The first paragraph of its docstring, as Markdown."""
    first = (inspect.getdoc(getattr(layers, name)) or "").split("\n\n")[0]
    escaped = re.sub(r"(``[^`]*``)|([*_|<>\[\]$\\])", lambda found: found[1] or "\\" + found[2], first)
    return escaped.replace("``", "`")


def _description(kind: type[layers.Layer]) -> str:
    """The call that makes the layer, which is also where its name leads, and its docstring."""
    settings = []
    for field in dataclasses.fields(kind):
        is_required = field.default is dataclasses.MISSING
        settings.append(field.name if is_required else f"{field.name}={_value(field.default)}")
    call = f"xpnet.layers.{kind.__name__}({', '.join(settings)})"
    return f"```{{eval-rst}}\n.. autoclass:: {call}\n```"


def _program(example: Example) -> str:
    """A program that runs as it stands, and what it prints."""
    layer, shape = example
    code = _code(layer)
    names = sorted({name for name in re.findall(r"\w+(?=\()", code) if hasattr(layers, name)})
    key = ", key=make_key(0)" if layer.is_random else ""
    lines = (
        "import numpy as np",
        f"from xpnet.layers import {', '.join(names)}",
        *["from xpnet.random import make_key"] * layer.is_random,
        "",
        f"layer = {code}",
        f"params, state, output_shape = layer.init(np.random.default_rng(0), {shape})",
        f"x = np.ones({(2, *shape)})",
        f"y, cache, state = layer.forward(params, state, x, train=True{key})",
        "dx, grads = layer.backward(params, cache, dy=np.ones_like(y))",
        "print(y.shape, sorted(grads))",
    )
    program, printed = "\n".join(lines), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    return f"```python\n{program}\n```\n\nprints `{printed.getvalue().strip()}`. {_sizes(example)}"


def _example(example: Example) -> str:
    return f"```python\n{_code(example.layer)}\n```\n\n{_sizes(example)}"


def _sizes(example: Example) -> str:
    params, _, output_shape = example.layer.init(np.random.default_rng(0), example.input_shape)
    count = sum(array.size for array in _arrays(params))
    return f"It takes examples of shape {example.input_shape} to {output_shape}; {count:,} parameters."


def _code(layer: layers.Layer) -> str:
    """What makes this layer: the settings that are not the default."""
    given = []
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if value != field.default:
            given.append(f"{field.name}={_value(value)}")
    return f"{type(layer).__name__}({', '.join(given)})"


def _value(value: Any) -> str:
    if isinstance(value, layers.Layer):
        return _code(value)
    if isinstance(value, tuple) and value and isinstance(value[0], tuple) and isinstance(value[0][1], layers.Layer):
        return f"[{', '.join(_named(*pair) for pair in value)}]"
    names = (name for name, known in vars(initializers).items() if known is value)
    return next(names, repr(value)) if callable(value) else repr(value)


def _named(name: str, layer: layers.Layer) -> str:
    """A layer in a container, with its name unless it got that by itself."""
    return _code(layer) if re.fullmatch(rf"{layer.prefix}\d+", name) else f'("{name}", {_code(layer)})'


def _arrays(tree: Any) -> Iterator[np.ndarray]:
    for value in tree.values():
        if isinstance(value, dict):
            yield from _arrays(value)
        else:
            yield value


def _operations(example: Example) -> set[str]:
    """The operations of the table of kernels that a training pass and a prediction ask for."""
    asked: set[str] = set()
    layer, shape = example
    params, state, _ = layer.init(np.random.default_rng(0), shape)
    x = np.ones((2, *shape), dtype=np.float64)
    with _noted(asked):
        y, cache, _ = layer.forward(params, state, x, train=True, key=make_key(0))
        layer.backward(params, cache, np.ones_like(y))
        layer.forward(params, state, x)
    return asked


@contextlib.contextmanager
def _noted(asked: set[str]) -> Iterator[None]:
    call = table.call

    def noting(operation: str, *arguments: Any, **settings: Any) -> Any:
        asked.add(operation)
        return call(operation, *arguments, **settings)

    table.call = noting
    try:
        yield
    finally:
        table.call = call


def _kernels(operations: list[str]) -> str:
    rows = ["| operation | modules |", "|---|---|"]
    for operation in operations:
        modules = ", ".join(f"`{c.module}` ({LIBRARIES[c.library]})" for c in table.TABLE[operation])
        rows.append(f"| `{operation}` | {modules} |")
    return "\n".join(rows)


def _figure(kind: type[layers.Layer], example: Example) -> tuple[Any, str]:
    """A picture of what a layer does, and its words."""
    if kind.__module__.endswith(FAMILIES["Activations"]) and kind is not layers.Softmax:
        return _curve(example.layer), f"{kind.__name__} and its derivative"
    for layer in SHOWN:
        if type(layer) is kind:
            return _before_and_after(layer), f"A digit, and what {kind.__name__} makes of it"
    return _numbers(example), (
        f"Random numbers as colours, and what {kind.__name__} makes of them. Examples are below each other, the "
        "channels of images side by side; of sequences, one is shown."
    )


def _curve(layer: layers.Layer) -> Any:
    """An activation and its derivative."""
    x = np.linspace(-4, 4, 401)[:, None]
    params, state, _ = layer.init(np.random.default_rng(0), (1,))
    y, cache, _ = layer.forward(params, state, x, train=True)
    dx, _ = layer.backward(params, cache, np.ones_like(y))
    with style.rc_context(style.STYLE):
        figure = style.make_figure(4.2, 2.6)
        axes = figure.add_subplot()
        axes.plot(x, y, marker="", label="y")
        axes.plot(x, dx, marker="", label="dy/dx")
        axes.set_xlabel("x")
        axes.grid(visible=True)
        axes.legend()
    return figure


def _before_and_after(layer: layers.Layer) -> Any:
    """A digit, and the first channel of what a layer makes of it."""
    digit = datasets.load("mnist").test_inputs[:1] / 255.0
    params, state, _ = layer.init(np.random.default_rng(1), digit.shape[1:])
    y = layer.forward(params, state, digit, train=True, key=make_key(0)).y
    with style.rc_context(style.STYLE):
        figure = style.make_figure(4.2, 2.2)
        for place, (image, title) in enumerate([(digit, "x"), (y, "y")]):
            axes = figure.add_subplot(1, 2, place + 1)
            axes.imshow(image[0, :, :, 0], cmap="gray")
            axes.set_title(f"{title}: {image.shape[1]} x {image.shape[2]}")
            axes.set_axis_off()
    return figure


def _numbers(example: Example) -> Any:
    """Input and output as colours."""
    layer, shape = example
    rng = np.random.default_rng(3)
    count = layer.index_count
    x = rng.normal(1.0, 1.0, (4, *shape)) if count is None else rng.integers(0, count, (4, *shape)).astype(float)
    params, state, _ = layer.init(rng, shape)
    y = layer.forward(params, state, x, train=True, key=make_key(1)).y
    with style.rc_context(style.STYLE):
        figure = style.make_figure(5.0, 2.4)
        for place, (batch, title) in enumerate([(x, "x"), (y, "y")]):
            axes = figure.add_subplot(1, 2, place + 1)
            largest = np.abs(batch).max()
            shown = axes.imshow(_plane(batch), cmap="PuOr", vmin=-largest, vmax=largest)
            axes.set_title(f"{title}: {' x '.join(map(str, batch.shape))}")
            axes.set_axis_off()
            figure.colorbar(shown, ax=axes, shrink=0.7)
    return figure


def _plane(batch: np.ndarray) -> np.ndarray:
    """Vectors below each other; one sequence; images below each other, with their channels side by side."""
    if batch.ndim < 4:
        return batch if batch.ndim == 2 else batch[0]
    apart = np.pad(np.moveaxis(batch, 3, 2), ((0, 0), (0, 1), (0, 0), (0, 1)), constant_values=np.nan)
    return apart.reshape(apart.shape[0] * apart.shape[1], -1)[:-1, :-1]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "layers"))
    return {"parallel_read_safe": True}
