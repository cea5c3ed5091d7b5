"""The page as a browser shows it; without one the rest of this folder's tests stand for it."""

import re

import pytest

from tests.browser import CHROMIUM, browsing
from tests.report.folders import line, make_folder, make_view
from tests.report.test_page import findings_of
from tests.report.test_watch import serving
from xpnet.report import page
from xpnet.runs.lock import only_user

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

CURVE = "document.querySelector('#curves svg path[clip-path][style*=blue]').getAttribute('d')"
SHOWN = "document.getElementById('page').innerText"


def test_a_report_is_read_at_any_width_in_light_and_dark_and_on_paper(tmp_path):
    folder = make_folder(tmp_path / "run")
    view = make_view(folder)
    view.findings = findings_of(("ant", "bee", "cat"))
    page.write(folder, [view])
    with browsing(tmp_path / "browser", width=1200) as tab:
        tab.open((folder.path / "report.html").resolve().as_uri())
        backgrounds = []
        for scheme in ("light", "dark"):
            tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            backgrounds.append(tab.value("getComputedStyle(document.body).backgroundColor"))
            for width in (1200, 390):
                tab.resize(width, 800)
                assert tab.value("document.documentElement.scrollWidth") <= width
                assert tab.value("[...document.images].every((image) => image.naturalWidth > 0)")
                heights = tab.value("[...document.querySelectorAll('svg')].map((one) => one.clientHeight)")
                assert len(heights) == 6
                assert min(heights) > 100
        assert backgrounds == ["rgb(255, 255, 255)", "rgb(22, 24, 27)"]
        assert tab.value("getComputedStyle(document.querySelector('svg text')).fill") == "rgb(230, 230, 230)"
        tab.send("Emulation.setEmulatedMedia", media="print")
        assert tab.value("getComputedStyle(document.body).color") == "rgb(27, 27, 27)"  # on white paper
        assert len(re.findall(rb"/Type /Page\b", tab.pdf())) <= 6  # well filled ones
        assert tab.errors == []


def test_runs_stand_in_columns_where_there_is_room(tmp_path):
    folder, other = make_folder(tmp_path / "first"), make_folder(tmp_path / "second")
    page.write(folder, [make_view(folder), make_view(other, "second")])
    with browsing(tmp_path / "browser") as tab:
        tab.open((folder.path / "report.html").resolve().as_uri())
        tops = "[...document.querySelectorAll('#confusion .one')].map((one) => one.getBoundingClientRect().top)"
        for width, columns in ((1200, 2), (1000, 2), (390, 1)):
            tab.resize(width, 800)
            assert len(set(tab.value(tops))) == 3 - columns
            assert tab.value("document.documentElement.scrollWidth") <= width


def test_curves_move_a_second_run_appears_and_a_killed_one_is_marked(tmp_path):
    runs = tmp_path / "runs"
    first = make_folder(runs / "first", lines=[line(1), line(5)], is_over=False)
    with serving(runs) as port, browsing(tmp_path / "browser") as tab:
        with only_user(first.path):
            tab.open(f"http://127.0.0.1:{port}/")
            tab.wait(f"{SHOWN}.includes('running, iteration 5 of 40')")
            before = tab.value(CURVE)
            with first.metrics_path.open("a") as file:
                file.write(f"{line(20)}\n")
            tab.wait(f"{SHOWN}.includes('iteration 20 of 40')")
            assert len(tab.value(CURVE)) > len(before)
            make_folder(runs / "second", lines=[line(1)])
            tab.wait(f"{SHOWN}.includes('2 runs')")
            assert tab.value("document.querySelectorAll('p.run.running').length") == 1
        tab.wait(f"{SHOWN}.includes('stopped before its end')")
        assert tab.errors == []


def test_parts_that_are_as_they_were_stay_and_an_end_of_the_server_is_said(tmp_path):
    folder = make_folder(tmp_path / "run", lines=[line(1)], is_over=False)
    with browsing(tmp_path / "browser") as tab:
        with serving(folder.path) as port:
            tab.open(f"http://127.0.0.1:{port}/")
            tab.value("document.getElementById('settings').mark = 7")
            folder.metrics_path.write_text(f"{line(1)}\n{line(9)}\n")
            tab.wait(f"{SHOWN}.includes('iteration 9 of 40')")
            assert tab.value("document.getElementById('settings').mark") == 7
            assert tab.value("document.getElementById('lost').hidden")
        tab.wait("!document.getElementById('lost').hidden")


def test_a_hostile_folder_is_text_and_runs_nothing(tmp_path):
    attack = "<img src=x onerror='hacked=1'><script>hacked=1</script>"
    hostile = make_folder(
        tmp_path / "runs" / "<img src=x onerror=hacked=1>", lines=[line(1)], versions={attack: attack}
    )
    (hostile.path / "config.json").write_text(f'{{"version": "{attack}"}}')
    with serving(tmp_path / "runs") as port, browsing(tmp_path / "browser") as tab:
        tab.open(f"http://127.0.0.1:{port}/")
        make_folder(tmp_path / "runs" / "second", lines=[line(1)], versions={attack: attack})
        tab.wait(f"{SHOWN}.includes('2 runs')")  # so that the script has put it there, too
        assert tab.value("typeof hacked") == "undefined"
        assert tab.value("document.querySelectorAll('#page img, #page script').length") == 0
        assert tab.value(SHOWN).count("<script>hacked=1</script>") >= 3
        assert tab.errors == []
