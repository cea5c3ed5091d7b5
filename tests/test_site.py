"""What ``tests/site.py`` finds on a small site, whose faults are planted; CI runs it on the real one."""

import base64
import re

import pytest

from tests import browser, site

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium")

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GOOD = '<h1>Site</h1><h2 id="part">Part</h2><img src="dot.png" alt="A dot"><a href="layers/Softmax.html#top">next</a>'
RESULT = '<h1>Search</h1><div id="search-results"><a href="layers/Softmax.html">Softmax</a></div>'

DARK = "<style>@media (prefers-color-scheme: dark) { body { background: #222 } h1 { color: #fff } }</style>"


@pytest.fixture
def pages(tmp_path):
    """A site without a fault, and how to add a page to it."""
    folder = tmp_path / "site"
    (folder / "layers").mkdir(parents=True)
    (folder / "dot.png").write_bytes(DOT)

    def add(name, body):
        icon = '<link rel="icon" href="data:,">'
        (folder / name).write_text(f"<!doctype html><title>A page</title>{icon}<body>{body}</body>", encoding="utf-8")
        return folder

    add("index.html", GOOD)
    add("layers/Softmax.html", '<h1 id="top">Softmax</h1><a href="../index.html#part">back</a>')
    add("search.html", RESULT)
    return add


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (GOOD, None),
        ("<p>No title</p>", "0 headings of level 1"),
        ("<h1>One</h1><h1>Two</h1>", "2 headings of level 1"),
        ("<h1>One</h1><h3>Three</h3>", r"a level of headings is left out: \[1, 3\]"),
        ('<h1>One</h1><img src="dot.png">', "a picture without words: .*dot.png"),
        ('<h1>One</h1><img src="dot.png" alt=" ">', "a picture without words: .*dot.png"),
        ('<h1>One</h1><img src="dot.png" alt="images/dot.png">', "a picture without words: .*dot.png"),
        ('<h1>One</h1><img src="data:image/png;base64,AAAA" alt="A dot">', "a broken picture: data:"),
        ('<h1>One</h1><a href="nowhere.html">x</a>', "a link to nowhere.html, which is not there"),
        ('<h1>One</h1><a href="index.html#other">x</a>', "a link to index.html#other, which is not on that page"),
        ('<h1>One</h1><div style="width: 600px">x</div>', r"\d+ pixels wider than a phone"),
        ("<h1>One</h1><span role=button>x</span>", "not reached by the keyboard: <span"),
        ('<h1>One</h1><a href="index.html" tabindex="-1">x</a>', "not reached by the keyboard: <a"),
        (f'{DARK}<h1 style="color: #999">One</h1>', "in light, a contrast of 2.8: One"),
        (f"{DARK}<h1>One</h1><p>black on black</p>", "in dark, a contrast of 1.3: black on black"),
        (f"{DARK}<h1>One</h1><p style='background: #fffd'>grey</p>", None),
        ("<h1>One</h1><script>console.error('oh')</script>", "on the console: .*oh"),
        ("<h1>One</h1><script>nonsense()</script>", "on the console: .*nonsense"),
    ],
)
def test_a_fault_of_a_page_is_found(pages, body, fault):
    found = site.faults(pages("page.html", body))
    assert {name for name, lines in found.items() if lines} == ({"page.html"} if fault else set())
    if fault:
        (line,) = found["page.html"]
        assert re.search(fault, line)


def test_a_search_that_finds_nothing_is_a_fault(pages, monkeypatch):
    monkeypatch.setattr(browser, "_SECONDS", 1)
    found = site.faults(pages("search.html", '<h1>Search</h1><div id="search-results"></div>'))
    assert [line for lines in found.values() for line in lines] == ["a search for softmax does not find the layer"]


def test_the_exit_code_tells_whether_there_are_faults(pages, capsys):
    folder = pages("page.html", GOOD)
    assert site.main(str(folder)) == 0
    pages("page.html", "")
    assert site.main(str(folder)) == 1
    assert "page.html: 0 headings of level 1" in capsys.readouterr().out
