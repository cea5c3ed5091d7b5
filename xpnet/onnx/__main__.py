"""Run ONNX's own cases and print what came of them as a table: ``python -m xpnet.onnx [LIBRARY ...]``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Mapping

os.environ.setdefault("JAX_ENABLE_X64", "1")  # before JAX is first used: the cases have float64 and int64

from xpnet import backend as backends
from xpnet.backend import Backend
from xpnet.errors import InputError
from xpnet.onnx.library import load_onnx

NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "cupy": "CuPy"}


def main(names: list[str]) -> int:
    """Print one line for each operator; exit code 1 if a case failed, 2 if a library is missing."""
    parser = argparse.ArgumentParser(
        "python -m xpnet.onnx", description="Run ONNX's own cases and print a table of them."
    )
    parser.add_argument(
        "names", nargs="*", metavar="LIBRARY", help=f"{', '.join(NAMES)}; all that are here if none is named"
    )
    names = parser.parse_args(names).names
    warnings.simplefilter("ignore")  # of overflows that cases ask for
    try:
        load_onnx()
        libraries = {name: backends.resolve("cuda" if name == "cupy" else "cpu", name) for name in names or _present()}
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return _print(libraries)


def _present() -> list[str]:
    """The array libraries that are here."""
    found = []
    for name in NAMES:
        try:
            backends.resolve("cuda" if name == "cupy" else "cpu", name)
        except InputError:
            continue
        found.append(name)
    return found


def _print(libraries: Mapping[str, Backend]) -> int:
    from xpnet.onnx import cases

    rows = cases.tally(libraries)
    print(f"| operator | cases | {' | '.join(f'passed, {NAMES[name]}' for name in libraries)} | left out |")
    print(f"|---|--:|{'--:|' * len(libraries)}---|")
    total, passed = 0, Counter()
    for operator, row in rows.items():
        why = ", ".join(f"{count} {reason}" for reason, count in row.left_out.items())
        print(f"| {operator} | {row.cases} | {' | '.join(str(row.passed[name]) for name in libraries)} | {why} |")
        total += row.cases
        passed.update(row.passed)
    print(f"| **all** | {total} | {' | '.join(str(passed[name]) for name in libraries)} | |\n")
    for reason, meaning in cases.REASONS.items():
        print(f"{reason}: {meaning}.")
    print(f"{len(cases.known_operators())} operators; {len(cases.all_cases()) - total} cases are of others.")
    failed = {case: why for row in rows.values() for case, why in row.failed.items()}
    for case, why in failed.items():
        print(f"failed: {case}: {why}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
