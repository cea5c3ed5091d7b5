"""The library's errors in the words of the command line: arguments by the flags that set them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from xpnet.runs.settings import FIELDS

# A message that speaks of a setting says "expected limit to be ...", "expected no momentum with ...", "Change limit.".
_BEFORE = r"(?:expected (?:no |a |an |a finite |either |one value of |the run's own )?|Change |[Ll]eave |another )"
_AFTER = r"(?= to | in \[| below| above| or | with| of at| out\b|,| \(|\.)"


_QUOTES = "'()"


def in_flags(message: str, spellings: Mapping[str, Sequence[str]]) -> str:
    """A message of the library, with flags for the arguments that it names.

    ``spellings`` are the flags of a program by the names of their arguments.

    >>> in_flags("Training: the loss became nan. Try learning_rate=0.01.", {"learning_rate": ["--lr"]})
    'Training: the loss became nan. Try --lr 0.01.'
    >>> in_flags("device 'cuda': CuPy is not installed.", {"device": ["--device"]})
    '--device cuda: CuPy is not installed.'
    """
    fields = FIELDS.get(message.partition(":")[0], {})
    known = {**spellings, **{there: spellings[here] for there, here in fields.items() if here in spellings}}
    names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    if not names:
        return message
    message = re.sub(
        rf"\b({names})=('[^']*'|\([^)]*\)|[^\s,;)]*?)(?=[.,;:)]*(?:\s|$))",
        lambda found: _assigned(known[found[1]], found[2]),
        message,
    )
    message = re.sub(r"\b(device|backend) '([^']*)'", lambda found: _spelled(found, known), message)
    message = re.sub(rf"\bgot '({names})'", lambda found: f"got {known[found[1]][0]}", message)
    message = re.sub(rf"({_BEFORE})({names}){_AFTER}", lambda found: f"{found[1]}{known[found[2]][0]}", message)
    return re.sub(
        rf"(?<![-\w/.])({names})(?![-\w/])",
        lambda found: known[found[1]][0] if "_" in found[1] else found[0],
        message,
    )


def _assigned(flags: Sequence[str], value: str) -> str:
    if value == "True":
        return flags[0]
    if value == "False":
        return next((flag for flag in flags if flag.startswith("--no-")), flags[0])
    return f"{flags[0]} {value.strip(_QUOTES).replace(',', '')}"


def _spelled(found: re.Match[str], known: Mapping[str, Sequence[str]]) -> str:
    return f"{known[found[1]][0]} {found[2]}" if found[1] in known else found[0]
