"""The site: ``python -m sphinx -W -b html docs OUT``, with the extra ``docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_ext")]

from repository_pages import PAGES  # noqa: E402

import xpnet  # noqa: E402

project = "xpnet"
author = "The xpnet developers"
copyright = author
version = release = xpnet.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "api_reference",
    "course_pages",
    "layer_book",
    "mathml",
    "repository_pages",
]
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # its page loads scripts from elsewhere
}
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
nitpicky = True
# Types of results that have no page: arrays, figures and aliases; what only xpnet makes.
nitpick_ignore_regex = [
    ("py:class", r"Array|Figure|NDArray|np\..*|Cache|Mix|OptimizerState|Pair|Shape|State"),
    ("py:class", r"Best|LossAndGradient|Part|Snapshot|StepMetrics|summary\.LayerInfo"),
]
autodoc_typehints = "none"  # signatures would be unreadable; the parameters have their types
python_use_unqualified_type_names = True
autosummary_generate = False  # the pages are those of api_reference
numpydoc_show_class_members = False
exclude_patterns = ["_ext", "gallery"]

html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}  # without it the theme's script reports an error
html_math_renderer = "mathml"
html_title = "xpnet"
html_static_path = ["_static"]
html_css_files = ["xpnet.css"]
html_show_sourcelink = False
_WITHOUT_SUBPAGES = ("install", "tour", "backprop", "coming-from", "results", "benchmarks", "architecture", "changelog")
html_sidebars = {page: [] for page in _WITHOUT_SUBPAGES}
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
}


def _leave_links_out_of_the_folder(app, docname: str, source: list[str]) -> None:
    """Pages link to files of the repository: of those that the site does not have the names stay, as text."""
    source[0] = re.sub(r"\[([^]]*)\]\(\.\./([^)#]*)([^)]*)\)", _on_the_site, source[0])


def _on_the_site(link: re.Match[str]) -> str:
    text, path, anchor = link.groups()
    if path in PAGES:
        return f"[{text}]({PAGES[path]}{anchor})"
    return text if path in text else f"{text} (`{path}`)"


def setup(app) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _leave_links_out_of_the_folder)
