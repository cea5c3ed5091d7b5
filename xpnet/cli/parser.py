"""How the command-line programs read their flags and show what these are."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, cast

from xpnet.errors import InputError, printable

EXIT_BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A parser of flags, in full, whose errors are one line, and which takes no empty text for a value."""

    def __init__(
        self,
        *,
        usage: str = "%(prog)s [options]",
        formatter_class: type[argparse.HelpFormatter] | None = None,
        **settings: Any,
    ) -> None:
        self.is_silent = False  # on all ranks but the first, which prints the same
        self.joined: Callable[[], AbstractContextManager[Any]] | None = None  # in which ranks end by an error of one
        super().__init__(allow_abbrev=False, usage=usage, formatter_class=formatter_class or _Formatter, **settings)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # pyright: ignore
        """The flags; an empty one is an error: of ``--resume "$RUN"`` the variable may not be set."""
        with self.joined() if self.joined else nullcontext():
            return self._parsed(args, namespace)

    def _parsed(self, args: Sequence[str] | None, namespace: Any) -> Any:
        flags = super().parse_args(args, namespace)
        for action in self._actions:
            value = getattr(flags, action.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):
                name = action.option_strings[0] if action.option_strings else action.metavar
                self.error(f"argument {name}: expected a value, got an empty text")
        return flags

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        if self.joined:
            raise InputError(f"{message}. {self.prog} --help lists the options.")
        self.exit(EXIT_BAD_INPUT, f"error: {printable(message)}. {self.prog} --help lists the options.\n")

    def spellings(self) -> dict[str, tuple[str, ...]]:
        """How each setting is given on the command line, by its name in Python."""
        return {action.dest: tuple(action.option_strings) for action in self._actions if action.option_strings}

    def add_help_all(self) -> None:
        """Let --help list the options of the first group and the headings of the others; --help-all lists all."""
        self.add_argument("--help-all", action=_HelpAll, help="show all options and exit")

    def format_help(self) -> str:
        """What --help prints."""
        groups = [group for group in self._action_groups if group._group_actions]
        if not any(isinstance(action, _HelpAll) for action in self._actions):
            return super().format_help()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for group in groups[:2]:  # of which one is argparse's own
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.start_section("more options, which --help-all lists")
        formatter.add_arguments(argparse.Action((), str(group.title), help=group.description) for group in groups[2:])
        formatter.end_section()
        return formatter.format_help()

    def format_full_help(self) -> str:
        """What --help-all prints."""
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        """Let a full disk be an error: argparse would ignore it."""
        if not self.is_silent:
            (file or sys.stderr).write(message)


class _HelpAll(argparse.Action):
    """Prints everything, and ends the program."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        cast(Parser, parser)._print_message(cast(Parser, parser).format_full_help(), sys.stdout)
        parser.exit()


class _Formatter(argparse.HelpFormatter):
    """Breaks lines at spaces alone, not within names such as mean-squared-error."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width))
