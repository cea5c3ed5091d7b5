"""Files of the repository as pages of the site: the benchmarks and the changelog."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = {"benchmarks/README.md": "benchmarks.md", "CHANGELOG.md": "changelog.md"}


def copy_pages(folder: Path) -> None:
    """Copy each file, with the links that lead somewhere on the site, and the others as text."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        place = PurePosixPath(source).parent
        links = r"(!?)\[([^]]*)\]\((?!https?:|#)([^)#]*)([^)]*)\)"
        text = re.sub(links, lambda link, place=place: _link(place, *link.groups()), text)
        (folder / page).write_text(text, encoding="utf-8")


def _link(place: PurePosixPath, picture: str, text: str, target: str, anchor: str) -> str:
    there = normpath(place / target)
    if picture:
        return f"![{text}](/../{there})"
    return f"[{text}]({there.removeprefix('docs/')}{anchor})" if there.startswith("docs/") else text


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("builder-inited", lambda app: copy_pages(Path(app.srcdir)))
    return {"parallel_read_safe": True}
