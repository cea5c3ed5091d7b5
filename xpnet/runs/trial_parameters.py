"""Parameters of a run that a search chooses: values by the names of ``runs.settings``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpnet.errors import InputError
from xpnet.runs.config import RunConfig
from xpnet.runs.settings import change

# What is searched, by the names of ``runs.settings``: the numbers to choose from or between, or, of "hidden", the
# topologies as text: "100,100".
Space = Mapping[str, Sequence[Any]]
Parameters = dict[str, Any]


def configure(config: RunConfig, parameters: Parameters) -> RunConfig:
    """The run with the parameters of a trial in place of its own."""
    return change(config, **{n: parse_hidden(v) if n == "hidden" else v for n, v in parameters.items()})


def parse_hidden(text: str) -> list[int]:
    """Units of each hidden layer, from such as "100,100".

    Raises InputError for anything but integers and commas.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"Topology: expected units of each hidden layer such as 100,100, got {text!r}. Change it."
        ) from error


def single_values(values: Parameters) -> Parameters:
    """The one value that was given for each parameter."""
    for name, given in values.items():
        if len(given) != 1:
            raise InputError(f"Search: expected one value of {name}, got {len(given)}. Use one.")
    return {name: value for name, (value,) in values.items()}


def rounded(parameters: Parameters) -> Parameters:
    """Numbers with four digits, as they are printed: a command with them repeats the trial exactly."""
    return {name: value if isinstance(value, str) else float(f"{value:.4g}") for name, value in parameters.items()}
