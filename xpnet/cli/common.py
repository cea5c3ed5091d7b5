"""What the command-line programs share: how they end, their flags for devices, and how they print."""

from __future__ import annotations

import argparse
import ctypes
import io
import platform
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from xpnet.backend import BACKENDS
from xpnet.errors import InputError, TrainingDivergedError

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143


class Parser(argparse.ArgumentParser):
    """A parser of flags whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(EXIT_BAD_INPUT, f"error: {message}. {self.prog} --help lists the flags.\n")


def run(program: Callable[[], int]) -> int:
    """Run a program and return its exit code; what the user can act on becomes one line without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Greek letters shows a question mark
    try:
        return program()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except TrainingDivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:  # a full disk, a closed pipe
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags --device and --backend."""
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="where to compute: cpu (NumPy), cuda or cuda:N (CuPy on an NVIDIA GPU), auto (a GPU if there is one), "
        "mps (Apple GPU, with --backend torch); default: cpu",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="array library that the layers run on; default: numpy on the CPU, cupy on a GPU",
    )


def make_console(quiet: bool = False) -> Console:
    """A console that prints colours on a terminal only; quiet ones print nothing."""
    return Console(quiet=quiet, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


def tune_malloc() -> None:
    """Let glibc keep freed memory instead of giving it back to the system after every array.

    Page faults of fresh arrays otherwise cost up to half of a training step on the CPU. This changes the whole process,
    so programs do it and the library never does. Elsewhere than on glibc nothing happens.

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # the parameters' numbers in malloc.h
    for parameter, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 64 * 1024 * 1024)):
        libc.mallopt(parameter, value)
