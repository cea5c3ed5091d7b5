"""What the command-line programs share: how they end, their flags for devices, and how they print."""

from __future__ import annotations

import argparse
import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from xpnet import datasets, kernels
from xpnet.backend import BACKENDS
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.files import require_regular_file
from xpnet.models import mlp, resnet

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2
EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_TERMINATED = 130, 141, 143  # 128 + the signal, as shells say it
MODEL_OPTIONS = ("hidden", "activation", "dropout", "batch_norm", "weight_init", "stem")


class Parser(argparse.ArgumentParser):
    """A parser of flags, in full, whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(EXIT_BAD_INPUT, f"error: {message}. {self.prog} --help lists the flags.\n")


def run(program: Callable[[], int]) -> int:
    """Run a program and return its exit code; what the user can act on becomes one line without a traceback."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Greek letters shows a question mark
    try:
        try:
            return program()
        finally:
            sys.stdout.flush()  # --help has printed without, and after this function a closed pipe is a warning
    except InputError as error:
        _print_error(error)
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # of | head: end without a word, as other programs do
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to flush
        return EXIT_PIPE_CLOSED
    except (TrainingDivergedError, OSError) as error:  # such as a full disk
        _print_error(error)
        return EXIT_FAILED
    except MemoryError as error:
        _print_error(f"not enough memory. {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _open_closed_streams() -> None:
    """Print to nowhere where a shell has closed stdout or stderr (``>&-``), for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the program ends)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def _print_error(error: Exception | str) -> None:
    print(f"error: {printable(str(error))}", file=sys.stderr)


def printable(text: str) -> str:
    """The text as one line, in which a name from a file can neither begin another nor command the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def leave_terminal() -> None:
    """Let what is printed from here on go nowhere if it would go to a terminal, where that may have become an error."""
    for stream in (sys.stdout, sys.stderr):
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_file(flag: str, path: str | None) -> None:
    """Raise InputError for a file that cannot be written where it is, before hours of work end in that."""
    if path is None:
        return
    if Path(path).is_dir():
        raise InputError(f"{flag} {path}: expected a file, got a folder. Add a file's name.")
    require_regular_file(path, flag)
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):  # where a file may stand for this process's own output
        raise InputError(f"{flag} {path}: expected a file, got a device. Give a file's name.")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"{flag} {path}: expected a file in an existing folder, got none. Make the folder first.")


def add_data_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags --data, --data-dir and --image-size."""
    parser.add_argument("--data", help=f"{', '.join(datasets.names())}; default: the model's own")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder with the data set's files; default: those that come with xpnet or are downloaded",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="with --data folder: scale and crop images to this height and width; default: the size they all have",
    )


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags of MODEL_OPTIONS, but for --hidden and --dropout, of which a search takes several values."""
    parser.add_argument("--activation", choices=mlp.ACTIVATIONS, help="after each hidden layer (mlp)")
    parser.add_argument("--batch-norm", action="store_true", default=None, help="batch normalisation (mlp)")
    parser.add_argument(
        "--weight-init",
        choices=mlp.WEIGHT_INITS,
        help="standard deviation of initial weights: he √(2/n_in), glorot √(2/(n_in + n_out)), lecun √(1/n_in), "
        "normal 1 (mlp)",
    )
    add_stem_argument(parser)


def add_stem_argument(parser: argparse._ActionsContainer) -> None:
    """Add the flag --stem."""
    parser.add_argument("--stem", choices=resnet.STEMS, help="small: for images of about 32x32 pixels (resnets)")


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


def add_speed_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags that change how fast the same figures are computed."""
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads that share NumPy's convolutions, and oneDNN's; default: one for each core this program may use",
    )
    parser.add_argument(
        "--kernels",
        choices=kernels.CHOICES,
        help="pure: only the kernels written for every array library, also where the library has its own; onednn: "
        "the same as fastest, and an error if NumPy's arrays have to do without oneDNN (extra onednn); cudnn: on "
        "CuPy arrays cuDNN's convolutions (unverified: they have not run on a GPU yet; needs the extra cudnn), "
        "elsewhere the same as fastest; default: fastest",
    )
    parser.add_argument(
        "--no-malloc-tuning",
        action="store_true",
        help="leave the C library's memory allocator as it is (slower on the CPU, for measurements)",
    )


def make_console(quiet: bool = False) -> Console:
    """A console that prints colours on a terminal only; quiet ones print nothing."""
    return _Console(quiet=quiet, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to ``run``: rich would end the program with exit code 1."""
        raise BrokenPipeError
