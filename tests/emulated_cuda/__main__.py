"""``build DIR`` makes an emulated CUDA device; ``run DIR COMMAND ...`` runs a command that finds it."""

import argparse
import os
import sys
from pathlib import Path

from tests.emulated_cuda.build import MissingError, build, check


def main() -> int:
    """Build or run; 2 where something is missing."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.verb == "run" and not arguments.command:
        parser.error("run: expected a command after DIR, such as: python scripts/train.py --device cuda")
    folder = arguments.folder.resolve()
    try:
        if arguments.verb == "build":
            build(folder)
            print(f"emulated CUDA: built in {folder}")
            return 0
        check(folder)
    except MissingError as problem:
        print(f"emulated CUDA: {problem}", file=sys.stderr)
        return 2
    paths = [str(folder / "python"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["EMULATED_CUDA"] = _settings(arguments)
    try:
        os.execvp(arguments.command[0], arguments.command)
    except OSError as error:
        print(f"emulated CUDA: {arguments.command[0]}: {error.strerror}.", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.emulated_cuda", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker = verbs.add_parser("build", help="make the device in a folder")
    maker.add_argument("folder", type=Path, metavar="DIR")
    runner = verbs.add_parser("run", help="run a command on it")
    runner.add_argument("--late", action="store_true", help="do work only when somebody waits for it")
    runner.add_argument("--guard", action="store_true", help="end each array at a page that faults; new arrays are NaN")
    runner.add_argument("--reverse", action="store_true", help="run blocks and threads in reverse order")
    runner.add_argument("--devices", type=int, default=2, metavar="N", help="this many devices, 2 by default")
    runner.add_argument("--memory", type=int, default=8 << 30, metavar="BYTES", help="memory of each device")
    runner.add_argument("--old-driver", action="store_true", help="a driver that is too old for CuPy")
    runner.add_argument("--verbose", action="store_true", help="print each error of CUDA")
    runner.add_argument("folder", type=Path, metavar="DIR")
    runner.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


def _settings(arguments: argparse.Namespace) -> str:
    """The variable that the device reads its settings from."""
    on = [name for name in ("late", "guard", "reverse", "verbose") if getattr(arguments, name)]
    driver = ["driver=old"] if arguments.old_driver else []
    return ",".join([*on, *driver, f"devices={arguments.devices}", f"memory={arguments.memory}"])


if __name__ == "__main__":
    sys.exit(main())
