"""The two errors that are the user's to act on; everything else that is raised is a bug.

Their text is one line: ``<Where>: expected <what>, got <actual>. <What to do>.`` The command-line
programs print it without a traceback.
"""


class InputError(ValueError):
    """What was handed in is wrong: a shape, a setting, a file, a device. Programs exit with code 2."""


class TrainingDivergedError(ArithmeticError):
    """The loss became infinite or NaN. Programs exit with code 1."""
