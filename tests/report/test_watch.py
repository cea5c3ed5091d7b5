"""The page of runs that go on: what it follows, and who may read it."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from tests.helpers import refused
from tests.report.folders import line, make_folder
from tests.report.html import Page
from xpnet.report import page, watch
from xpnet.report.watch import Watch, serve
from xpnet.runs.lock import only_user


@contextmanager
def serving(*paths):
    """The port of a server of the page."""
    with serve(paths, lambda config: f"repeat {config.model}", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(port, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with connection.getresponse() as response:
        content = response.read().decode()
    connection.close()
    return response, content


def test_the_page_grows_with_the_run_and_is_not_sent_again_if_it_is_as_it_was(tmp_path):
    folder = make_folder(tmp_path / "run", lines=[], is_over=False)
    with only_user(folder.path), serving(folder.path) as port:
        response, content = ask(port)
        assert response.status == 200
        assert "repeat mnist_starter" in Page(content).text
        assert '<section id="curves"' not in content
        tag = response.headers["ETag"]
        assert ask(port, if_none_match=tag)[0].status == 304

        folder.metrics_path.write_text(f"{line(10)}\n")
        response, content = ask(port, if_none_match=tag)
        assert response.status == 200
        assert "iteration 10 of 40" in " ".join(Page(content).text.split())
        assert '<section id="curves"' in content


def test_a_second_run_appears_and_a_killed_one_is_marked(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    looked = Watch([runs], lambda config: "")
    assert "No run yet" in looked.current().decode()
    first = make_folder(runs / "first", lines=[], is_over=False)
    with only_user(first.path):
        assert '<p class="run running">' in looked.current().decode()
    assert '<p class="run stopped">' in looked.current().decode()
    make_folder(runs / "second", lines=[], is_over=False)
    content = looked.current().decode()
    assert ">2 runs</h1>" in content
    assert Page(content).text.count("--resume") == 2


def test_a_page_is_not_drawn_again_unless_something_changed(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "run", lines=[line(1)])
    looked = Watch([folder.path], lambda config: "")
    before = looked.current()
    monkeypatch.setattr(page, "render", None)  # an error if it is called
    assert looked.current() is before


def test_of_many_runs_the_newest_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MOST_RUNS", 2)
    for number in range(4):
        folder = make_folder(tmp_path / f"run{number}", lines=[], is_over=False)
        os.utime(folder.config_path, (number, number))
    (tmp_path / "not a run").mkdir()
    content = Watch([tmp_path], lambda config: "").current().decode()
    assert re.findall(r"<strong>(\w+)</strong>", content) == ["run2", "run3"]


def test_a_hostile_run_is_text_on_the_page_of_bounded_size_and_the_others_are_there(tmp_path):
    good = make_folder(tmp_path / "good", lines=[line(1)], is_over=False)
    hostile = tmp_path / "<script>alert(1)"
    make_folder(hostile, lines=["<script>alert(2)", "x" * 10_000_000], is_over=False)
    (hostile / "config.json").write_text('{"version": "<script>alert(3)"}')
    (hostile / "start.json").write_text("[" * 900_000)
    (hostile / "summary.json").write_text(f'["{"y" * 2_000_000}"]')
    content = Watch([tmp_path], lambda config: "").current().decode()
    assert len(content) < 200_000
    shown = Page(content)
    assert len(shown.all("script")) == 1  # ours
    assert "<script>alert(1)" in shown.text
    assert "<script>alert(3)" in shown.text
    assert good.path.name in shown.text


def test_a_name_that_was_made_to_lead_here_is_refused(tmp_path):
    folder = make_folder(tmp_path / "run", lines=[], is_over=False)
    with serving(folder.path) as port:
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
            response, content = ask(port, host=host)
            assert response.status == 403
            assert "mnist_starter" not in content
        assert ask(port, host=f"localhost:{port}")[0].status == 200


def test_there_is_one_page_and_nothing_runs_on_it_but_its_own_script(tmp_path):
    folder = make_folder(tmp_path / "run", lines=[], is_over=False)
    with serving(folder.path) as port:
        for path in ("/config.json", "/../run/config.json", "/?", f"http://127.0.0.1:{port}/"):
            assert ask(port, path)[0].status == 404
        assert ask(port, method="POST")[0].status == 501
        response, content = ask(port)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    (ours,) = re.findall(r"script-src 'sha256-([^']+)'", policy)
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    assert watch._digest(script) == ours


def test_other_hosts_cannot_reach_it(tmp_path):
    with serve([tmp_path], lambda config: "", 0) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with refused(f"Port {port}: expected a free port, got: "):
            serve([tmp_path], lambda config: "", port)
    with refused("Port 70000: expected a free port, got: not from 0 to 65535"):
        serve([tmp_path], lambda config: "", 70_000)
    with refused(f"{tmp_path / 'none'}: expected a run's folder"):
        serve([tmp_path / "none"], lambda config: "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_the_program_without_a_word(tmp_path):
    source = (  # a shell's background processes ignore the signal, and so would what they start
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from xpnet.cli.main import main; raise SystemExit(main(['watch', {str(tmp_path)!r}, '--port', '0']))"
    )
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", program.stdout.readline())
        assert ask(int(port))[0].status == 200
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=30) == ("", "")
    assert program.returncode == 0
