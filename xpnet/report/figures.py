"""Plots as SVG inside a page: in its colours, light or dark, with a text that says what they show."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from xpnet.plots.style import BLUE, GREEN, VERMILLION

_INK = "#010203"  # no plot's own colour: it marks what is written on the page and not on a coloured cell
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "svg.fonttype": "none",  # letters, which can be searched and copied
    "savefig.dpi": 150,
}
_THEMED = {"grid": "#DDDDDD", "blue": BLUE, "vermillion": VERMILLION, "green": GREEN}  # lighter on a dark page
_COLOURS = {_INK: "currentColor"} | {colour.lower(): f"var(--{name})" for name, colour in _THEMED.items()}
_LEGIBLE = 290  # points; on a narrower screen a wide plot is scrolled, for its letters would be too small
_FONT = "font-family: 'DejaVu Sans'"
_SIMILAR = f"{_FONT}, Verdana, sans-serif"  # letters of the same width on most systems


class Picture(NamedTuple):
    """An SVG element and what it shows in words."""

    svg: Markup
    text: str


def draw(make: Callable[[], Figure], text: str, salt: str) -> Picture:
    """Draw a plot, whose letters must all be printable.

    The same one with the same salt gives the same bytes, and others on the page have other ids.
    """
    buffer = io.BytesIO()
    with rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure = make()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        width = 72 * figure.get_figwidth()
    return Picture(_inline(buffer.getvalue().decode(), text, width), text)


def _inline(svg: str, text: str, width: float) -> Markup:
    """What is inside an SVG file, as an element of a page. What it says is escaped already."""
    view = re.search(r'viewBox="([-\d. ]+)"', svg)
    content = svg[svg.index("</metadata>") + len("</metadata>") : svg.rindex("</svg>")]
    content = re.sub(r"<style.*?</style>", "", content, count=1, flags=re.DOTALL)
    content = re.sub(r'<g id="[^"]*"', "<g", content)
    content = content.replace(_FONT, _SIMILAR).replace("\n", " ")
    for colour, ours in _COLOURS.items():
        content = content.replace(colour, ours)
    head = Markup('<svg role="img" aria-label="{}" viewBox="{}" preserveAspectRatio="xMinYMin" style="{}">')
    style = f"width: {width:g}pt; min-width: {min(width, _LEGIBLE):g}pt"
    return head.format(text, view[1] if view else "", style) + Markup(content) + Markup("</svg>")
