"""The two errors that are the user's to act on; everything else that is raised is a bug.

Their text is one line: ``<Where>: expected <what>, got <actual>. <What to do>.`` The command-line
programs print it without a traceback.
"""

_LONGEST = 100


class InputError(ValueError):
    """What was handed in is wrong: a shape, a setting, a file, a device. Programs exit with code 2."""


class TrainingDivergedError(ArithmeticError):
    """The loss became infinite or NaN. Programs exit with code 1."""


def short(value: object) -> str:
    """A value as a message shows it: on one line of at most 100 characters, an array by its shape alone."""
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def printable(text: str) -> str:
    """The text as one line, in which a name from a file can neither begin another nor command the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
