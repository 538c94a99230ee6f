"""What is wrong with a project, and where: collected, so that all of it is told at once."""

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
    """Every problem found so far. The same one, met again through an alias, counts once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], None] = {}

    def add(self, place: Place, text: str) -> None:
        """Note what is wrong at a place and the next step; kept on one printable line."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        self._found[place, line if line.endswith((".", "?")) else f"{line}."] = None

    def raise_if_any(self) -> None:
        """Raise one ConfigError with a line for each problem, in the order of the files."""
        if self._found:
            in_order = sorted(self._found, key=lambda problem: problem[0])
            raise ConfigError("\n".join(f"{place}: {text}" for place, text in in_order))


def quoted(name: str) -> str:
    """Return a name of the project file as it stands in a message."""
    return f'"{name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"}"'


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """Say that a key is unknown, which is nearest, and which there are.

    What follows a colon or an equals sign is left out: it is a value whose space is missing.
    """
    names = list(valid)
    head = re.split(r"[:=\s]", key, maxsplit=1)[0]
    said = f"unknown key {quoted(head)}."
    if head != key:
        said += " Write key: value, with a space after the colon."
    elif near := suggest(key, names):
        said += f" Did you mean {quoted(near)}?"
    return f"{said} Valid keys: {', '.join(names)}." if names else said
