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

INTERRUPTED_NUMPY = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt as error:
    raise ImportError("as NumPy's C code says of it") from error
"""


def test_there_are_scripts():
    assert len(SCRIPTS) >= 9


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_ctrl_c_during_the_import_is_one_line(script, tmp_path):
    (tmp_path / "numpy.py").write_text(INTERRUPTED_NUMPY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    result = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=50)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_starts_its_own_program(script):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"usage: {script.name} ")


def test_a_program_gets_ctrl_c_as_ever_and_its_exit_code_is_the_scripts(monkeypatch):
    handlers = []

    def main():
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
