"""The lessons of ``course/`` as pages of the site."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

COURSE = Path(__file__).parents[2] / "course"


def copy_lessons(folder: Path) -> None:
    """Copy the lessons, with their cells as blocks of code, and the page that lists them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lessons = sorted(COURSE.glob("lesson*.md"))
    for lesson in lessons:
        text = lesson.read_text(encoding="utf-8").replace("```{code-cell} ipython3", "```python")
        (folder / lesson.name).write_text(text, encoding="utf-8")
    names = "\n".join(lesson.stem for lesson in lessons)
    index = (COURSE / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(f"{index}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n", encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("builder-inited", lambda app: copy_lessons(Path(app.srcdir) / "course"))
    return {"parallel_read_safe": True}
