"""Figures, ages and durations as people read them; text that is safe for a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def count(number: int | None) -> str | None:
    """Return `1,234`."""
    return None if number is None else f"{number:,}"


def seconds(number: float) -> str:
    """Return `0.04 s`, `2.1 s`, or `3m 12s`."""
    if number < 1:
        return f"{number:.2f} s"
    if number < 60:
        return f"{number:.1f} s"
    return _two_units(number)


def with_table(table: object, message: str) -> str:
    """Return a message that begins with the table's name, once."""
    return message if message.startswith(f"{table}: ") else f"{table}: {message}"


def duration(span: timedelta | None) -> str | None:
    """Return a duration as the YAML writes it: `90s`, `10m`, `1h`, `2d`."""
    if span is None:
        return None
    total = span.total_seconds()
    for unit, size in _UNITS:
        if total and total % size == 0:
            return f"{total / size:.0f}{unit}"
    return f"{total:g}s"


def ago(moment: datetime | None, at: datetime) -> str | None:
    """Return how long ago a moment was: `3m ago`."""
    if moment is None:
        return None
    span = (at - moment).total_seconds()
    return "now" if span < 1 else f"{_one_unit(span)} ago"


def due(moment: datetime | None, at: datetime) -> str | None:
    """Return when a moment will be: `in 12m`, `now`, or `2h overdue`."""
    if moment is None:
        return None
    span = (moment - at).total_seconds()
    if span > 0:
        return f"in {_one_unit(span)}"
    return "now" if span > -60 else f"{_one_unit(-span)} overdue"


def plural(number: int, noun: str) -> str:
    """Return `1 table`, `2 tables`, `1,234 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str, keep: str = "") -> str:
    """Return the text with control characters escaped, because data must not drive a terminal.

    `keep` has the control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char in keep
        or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        # Joiners are parts of many emoji, and of the spelling in several scripts.
        or char in "\u200c\u200d"
        else _escaped(char)
        for char in text
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _one_unit(span: float) -> str:
    unit, size = next(((u, s) for u, s in _UNITS if span >= s), _UNITS[-1])
    return f"{span // size:.0f}{unit}"


def _two_units(span: float) -> str:
    at = next(i for i, (_, size) in enumerate(_UNITS) if span >= size)
    (unit, size), (lesser, lesser_size) = _UNITS[at], _UNITS[at + 1]
    return f"{span // size:.0f}{unit} {span % size // lesser_size:.0f}{lesser}"
