"""The scripts before and after their programs are imported."""

import os
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
ENTRY = ROOT / "scripts" / "entry.py"
SCRIPTS = sorted(path for path in ENTRY.parent.glob("*.py") if path != ENTRY)

WITH_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""
INTERRUPTED_NUMPY = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt as error:
    raise ImportError("as NumPy's C code says of it") from error
"""
NUMPY_THAT_GOES_ON = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(3)
"""


def test_there_are_scripts():
    assert len(SCRIPTS) >= 9


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_ctrl_c_during_the_import_is_one_line(script, tmp_path):
    result = start(script, tmp_path, INTERRUPTED_NUMPY, "SIG_DFL")
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


def test_a_script_that_was_started_to_ignore_ctrl_c_does_so_during_the_import_too(tmp_path):
    """A shell starts what runs in its background like this."""
    assert start(SCRIPTS[0], tmp_path, NUMPY_THAT_GOES_ON, "SIG_DFL").returncode == 130
    assert start(SCRIPTS[0], tmp_path, NUMPY_THAT_GOES_ON, "SIG_IGN").returncode == 3


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_starts_its_own_program(script):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"usage: {script.name} ")


def test_a_program_gets_ctrl_c_as_ever_and_its_exit_code_is_the_scripts(monkeypatch):
    handlers = []

    def main(argv, prog):
        assert (argv, prog) == (None, Path(sys.argv[0]).name)
        handlers.append(signal.getsignal(signal.SIGINT))
        return 3

    monkeypatch.setitem(sys.modules, "xpnet.cli.pretended", SimpleNamespace(main=main))
    spec = spec_from_file_location("entry", ENTRY)
    entry = module_from_spec(spec)
    spec.loader.exec_module(entry)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        entry.run("pretended")
    assert ended.value.code == 3
    assert handlers == [before]


def start(script, folder, numpy, disposition):
    """Run a script with another NumPy, and with SIGINT as told, whatever the tests' own process does about it."""
    (folder / "numpy.py").write_text(numpy)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT)))}
    command = [sys.executable, "-S", "-c", WITH_SIGINT, disposition, script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
