"""What every script does: import its program and run it."""

import os
import signal
import sys
from importlib import import_module


def run(program: str) -> None:
    """Run a program of ``xpnet.cli`` and end with its exit code; Ctrl-C during the import is one line and 130."""
    in_program = signal.getsignal(signal.SIGINT)
    if in_program != signal.SIG_IGN:  # which a shell sets for what it starts in the background
        signal.signal(signal.SIGINT, _end)
    main = import_module(f"xpnet.cli.{program}").main
    signal.signal(signal.SIGINT, in_program)
    sys.exit(main(None, os.path.basename(sys.argv[0])))


def _end(*_: object) -> None:
    """Without an exception, which a library's C code may turn into another one as it is imported."""
    os.write(2, b"Interrupted.\n")
    os._exit(130)
