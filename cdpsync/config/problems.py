"""Problems of a project with their places, collected so that one error has them all."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cdpsync.errors import ConfigError, suggest

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problems:
    """The problems so far. One that an alias repeats counts once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[Place, str], None] = {}

    def add(self, place: Place, text: str) -> None:
        """Note a problem at a place, with the next step, on one printable line."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        self._problems[place, line if line.endswith((".", "?")) else f"{line}."] = None

    def raise_if_any(self) -> None:
        """Raise one ConfigError with a line for each problem, in the order of the files."""
        if self._problems:
            in_order = sorted(self._problems, key=lambda problem: problem[0])
            raise ConfigError("\n".join(f"{place}: {text}" for place, text in in_order))


def quoted(name: str) -> str:
    """Return a name of the project file in quotes, for a message."""
    return f'"{name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"}"'


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """Return the message of an unknown key, with the nearest valid key and all of them.

    Text behind a colon or an equals sign is left out, because it is a value whose space is missing.
    """
    names = list(valid)
    head = re.split(r"[:=\s]", key, maxsplit=1)[0]
    message = f"unknown key {quoted(head)}."
    if head != key:
        message += " Write key: value, with a space after the colon."
    elif near := suggest(key, names):
        message += f" Did you mean {quoted(near)}?"
    return f"{message} Valid keys: {', '.join(names)}." if names else message
