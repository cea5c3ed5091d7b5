"""What the command-line programs share: how they end and print, and their flags for data and devices."""

from __future__ import annotations

import argparse
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from xpnet import datasets, kernels
from xpnet.cli.parser import EXIT_BAD_INPUT, Parser
from xpnet.cli.wording import in_flags
from xpnet.devices import BACKENDS
from xpnet.errors import InputError, TrainingDivergedError, printable
from xpnet.files import require_regular_file
from xpnet.models import mlp, resnet
from xpnet.parallel import ENGINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXIT_OK, EXIT_FAILED = 0, 1
EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_TERMINATED = 130, 141, 143  # 128 + the signal, as shells say it


def run(parser: Parser, argv: Sequence[str] | None, program: Callable[[Any], int]) -> int:
    """Run a program with its flags and return its exit code; what the user can act on is one line, no traceback."""
    say = _say_nothing if parser.is_silent else print_error
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Greek letters shows a question mark
    try:
        try:
            return program(parser.parse_args(argv))
        finally:
            sys.stdout.flush()  # --help has printed without, and after this function a closed pipe is a warning
    except InputError as error:
        say(in_flags(str(error), parser.spellings()))
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # of | head: end without a word, as other programs do
        _drop_unwritten()
        return EXIT_PIPE_CLOSED
    except TrainingDivergedError as error:
        say(in_flags(str(error), parser.spellings()))
        return EXIT_FAILED
    except OSError as error:  # such as a full disk
        if error.errno == errno.ENAMETOOLONG:
            say(
                f"{str(error.filename)[:40]}...: expected a shorter path, got {len(str(error.filename))} "
                "characters. Choose another one."
            )
            return EXIT_BAD_INPUT
        say(error)
        try:
            sys.stdout.flush()
        except OSError:
            _drop_unwritten()
        return EXIT_FAILED
    except MemoryError as error:
        say(in_flags(f"not enough memory. {error}", parser.spellings()))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _drop_unwritten() -> None:
    """Let what standard output could not write go nowhere: Python would try again as it ends, and then say so."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Print to nowhere where a shell has closed stdout or stderr (``>&-``), for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the program ends)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def print_error(error: Exception | str) -> None:
    """Print an error on stderr."""
    print(f"error: {printable(str(error))}", file=sys.stderr)


def _say_nothing(error: Exception | str) -> None:
    pass


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
        raise InputError(f"{flag} {path}: expected a file, got a device. Use a file name.")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"{flag} {path}: expected a file in an existing folder, got none. Make the folder first.")


def given(flags: argparse.Namespace, names: Mapping[str, str]) -> dict[str, Any]:
    """The flags of these names that were given, by the names they have elsewhere."""
    return {there: getattr(flags, here) for here, there in names.items() if getattr(flags, here) is not None}


def choices(names: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a flag that takes one of these names, which its help lists: argparse's list does not wrap."""
    return {"choices": tuple(names), "metavar": "NAME"}


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Names with commas."""
    return ", ".join(names)


def add_data_arguments(group: argparse._ActionsContainer) -> None:
    """Add the flags --data and --data-dir."""
    group.add_argument("--data", metavar="NAME", help=f"{listed(datasets.names())}; default: the model's own")
    group.add_argument("--data-dir", metavar="DIR", help="folder with the data; default: bundled or downloaded")


def add_image_size_argument(group: argparse._ActionsContainer) -> None:
    """Add the flag --image-size."""
    group.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="with --data folder: scale and crop images to this size; default: their own, if it is the same",
    )


def add_model_arguments(group: argparse._ActionsContainer) -> None:
    """Add the flags of a model's options, but for --hidden and --dropout, of which a search takes several values."""
    group.add_argument("--activation", **choices(mlp.ACTIVATIONS), help=f"of mlp: {listed(mlp.ACTIVATIONS)}")
    group.add_argument("--batch-norm", action="store_true", default=None, help="of mlp: batch normalisation")
    group.add_argument(
        "--weight-init",
        **choices(mlp.WEIGHT_INITS),
        help="of mlp, standard deviation of the weights: he √(2/n_in), glorot √(2/(n_in + n_out)), lecun √(1/n_in), "
        "normal 1",
    )
    add_stem_argument(group)


def add_stem_argument(group: argparse._ActionsContainer) -> None:
    """Add the flag --stem."""
    group.add_argument(
        "--stem",
        **choices(resnet.STEMS),
        help="of resnet18 to resnet152 and mobilenet_v2: imagenet, or small for 32x32 images",
    )


def add_device_arguments(group: argparse._ActionsContainer, *, backend: bool = True) -> None:
    """Add the flags --device and --backend."""
    group.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda or cuda:N (NVIDIA GPU), mps (Apple GPU), auto (a GPU if there is one); default: cpu",
    )
    if backend:
        add_backend_argument(group)


def add_backend_argument(group: argparse._ActionsContainer) -> None:
    """Add the flag --backend."""
    group.add_argument(
        "--backend",
        **choices(BACKENDS),
        help=f"array library: {listed(BACKENDS)}; default: numpy on the CPU, cupy on a GPU",
    )


def add_speed_arguments(group: argparse._ActionsContainer) -> None:
    """Add the flags that change how fast the same results are computed."""
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: one per core")
    group.add_argument(
        "--kernels",
        **choices(kernels.CHOICES),
        help="fastest; pure: only those that run on every array library; onednn: as fastest, but an error without "
        "oneDNN (extra onednn); cudnn: cuDNN's on CuPy arrays (extra cudnn); default: fastest",
    )
    group.add_argument(
        "--no-malloc-tuning",
        dest="tune_malloc",
        action="store_false",
        default=None,
        help="leave the C library's memory allocator as it is (slower on the CPU)",
    )


def add_parallel_argument(group: argparse._ActionsContainer) -> None:
    """Add the flag --parallel."""
    group.add_argument(
        "--parallel",
        **choices((*ENGINES, "none")),
        help="how processes share every batch. mpi: those of mpiexec or srun; torch: those of torchrun; none: not at "
        "all, each trains by itself; default: as they were started",
    )


def make_console(quiet: bool = False) -> Console:
    """A console that prints colours on a terminal only; quiet ones print nothing."""
    return _Console(quiet=quiet, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to ``run``: rich would end the program with exit code 1."""
        raise BrokenPipeError


def make_folder(out: str) -> None:
    """Make the output folder. Raises InputError if that fails."""
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made ({error.strerror}). Choose another folder.") from error


def save_plot(console: Console, figure: Figure, out: str, name: str) -> None:
    """Write a plot to the output folder, and say where it is."""
    from xpnet import plots  # here: matplotlib takes a second to import

    path = os.path.join(out, f"{name}.png")
    plots.save(figure, path)
    console.print(f"The plot is in {path}")


def number(text: str) -> int | float:
    """A count or a fraction."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def yes_no_or_number(text: str) -> bool | float:
    """A flag's value that may also be switched."""
    words = {"yes": True, "no": False}
    return words[text] if text in words else float(text)


yes_no_or_number.__name__ = "yes, no or number"  # as argparse's errors say it
