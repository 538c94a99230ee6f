"""Problems of a project with their places, collected so that one error has them all."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from cdpsync.errors import ConfigError, suggest

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


_Noted = dict[tuple[Place, str], None]


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems so far. One that an alias repeats counts once.

    What a variable or a file has put into a source is a problem of that source alone, and can wait
    until the source is opened, because to look at the lake needs no source.
    """

    source: str | None = None
    _problems: _Noted = field(default_factory=dict)
    _by_source: dict[str, _Noted] = field(default_factory=dict)

    def of_source(self, name: str) -> Self:
        """Return the same problems, to which those of this source are added."""
        return replace(self, source=name)

    def add(self, place: Place, text: str) -> None:
        """Note a problem at a place, with the next step, on one printable line."""
        self._problems[place, _as_line(text)] = None

    def add_of_value(self, place: Place, text: str) -> None:
        """Note a problem of a value from outside the project file."""
        if self.source is None:
            self.add(place, text)
        else:
            self._by_source.setdefault(self.source, {})[place, _as_line(text)] = None

    @property
    def of_values(self) -> str:
        """The problems of the values that this source has from outside the file, on one line."""
        return " ".join(_in_order(self._by_source.get(self.source or "", {})))

    def raise_if_any(self) -> None:
        """Raise one ConfigError with a line for each problem, in the order of the files.

        Problems that could wait do not raise, but are among those of an error that is raised.
        """
        if self._problems:
            raise ConfigError("\n".join(_in_order(self._problems, *self._by_source.values())))


def _as_line(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if line.endswith((".", "?")) else f"{line}."


def _in_order(*problems: _Noted) -> list[str]:
    noted = {problem: None for some in problems for problem in some}
    return [f"{place}: {text}" for place, text in sorted(noted, key=lambda problem: problem[0])]


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
