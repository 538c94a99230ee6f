"""The value of a cell of a workbook: its kind, and its text as the lake would write it.

The kind comes from the cell's type and its number format (ECMA-376 part 1, 18.3.1.4 and 18.8.30),
because a workbook stores a day as a number of days, and only the format tells that it is one.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Flag, auto
from typing import NamedTuple

_MS_OF_DAY = 86_400_000
_LEAP_DAY_THAT_WAS_NONE = 60  # 1900-02-29, for the sake of Lotus 1-2-3

# What of a format's code is shown as it is, or is a colour, a locale or a condition.
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_CLOCK = re.compile(r"[hs]|am/pm|a/p", re.IGNORECASE)
_CALENDAR = re.compile(r"[yd]|m{3,}|(?<!g)e(?![+-])|b{2,}", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,38}")


class Shown(Flag):
    """What of a number its format shows: a day, a time of day, a duration; nothing of them."""

    NUMBER = 0
    DAY = auto()
    TIME = auto()
    ELAPSED = auto()


# The formats that have numbers and no code, 27 to 58 in Chinese, Japanese and Korean (18.8.30).
_BUILT_IN = {
    **dict.fromkeys((*range(14, 18), *range(27, 32), *range(34, 37), *range(50, 59)), Shown.DAY),
    **dict.fromkeys((*range(18, 22), 32, 33, 45, 47), Shown.TIME),
    22: Shown.DAY | Shown.TIME,
    46: Shown.ELAPSED,
}


class Kind(Flag):
    """What a cell's value is. WIDE: an integer that no double keeps."""

    NONE = 0
    TEXT = auto()
    NUMBER = auto()
    WIDE = auto()
    BOOLEAN = auto()
    DATE = auto()
    TIMESTAMP = auto()
    TIME = auto()


class Value(NamedTuple):
    """A value; with a `fault` it cannot be one of the lake."""

    kind: Kind
    text: str
    fault: str = ""


def shown_by(format_id: int, code: str | None) -> Shown:
    """Return what a number format shows, by its code, or by its number if it has none."""
    if code is None:
        return _BUILT_IN.get(format_id, Shown.NUMBER)
    code = _LITERAL.sub("", code).split(";")[0]
    if _ELAPSED.search(code):
        return Shown.ELAPSED
    if code.strip().lower() == "general":
        return Shown.NUMBER
    has_clock, has_calendar = bool(_CLOCK.search(code)), bool(_CALENDAR.search(code))
    is_month = not has_clock and re.search("m", code, re.IGNORECASE)
    shown = Shown.TIME if has_clock else Shown.NUMBER
    return shown | Shown.DAY if has_calendar or is_month else shown


def number(raw: str, shown: Shown, *, is_1904: bool) -> Value:
    """Return the value of a cell that stores a number; raises ValueError for what is none."""
    if _INTEGER.fullmatch(raw) and shown is Shown.NUMBER:
        integer = int(raw)
        kind = Kind.NUMBER if int(float(integer)) == integer else Kind.NUMBER | Kind.WIDE
        return Value(kind, str(integer))
    double = float(raw)
    if not abs(double) < float("inf"):
        return Value(Kind.NUMBER, raw, f"{raw} is no number")
    if shown is Shown.NUMBER:
        return Value(Kind.NUMBER, _shortest(double))
    if shown is Shown.ELAPSED:
        return Value(Kind.TEXT, _elapsed(double))
    return _moment(double, shown, is_1904=is_1904)


def iso_moment(raw: str) -> Value:
    """Return the value of a cell that stores a day or moment as ISO; raises ValueError."""
    if "T" not in raw:
        return Value(Kind.DATE, date.fromisoformat(raw).isoformat())
    moment = datetime.fromisoformat(raw.removesuffix("Z"))
    if moment.tzinfo is not None:
        raise ValueError(raw)
    return Value(Kind.TIMESTAMP, moment.isoformat(" "))


def _shortest(double: float) -> str:
    """Return the shortest text of a double: 3 for 3.0, 0.00001, and 1e+20."""
    if not double:
        return "0"
    if not 1e-10 <= abs(double) < 1e18:
        return repr(double)
    text = format(Decimal(repr(double)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _elapsed(days: float) -> str:
    total = round(abs(days) * _MS_OF_DAY)
    hours, rest = divmod(total, 3_600_000)
    sign = "-" if days < 0 and total else ""
    return f"{sign}{hours}:{_minutes(rest)}"


def _minutes(milliseconds: int) -> str:
    seconds, fraction = divmod(milliseconds, 1000)
    text = f"{seconds // 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:03}" if fraction else text


def _moment(days: float, shown: Shown, *, is_1904: bool) -> Value:
    """Return the day, moment or time of day, to the millisecond, which is what Excel shows."""
    if days < 0:
        text = _shortest(days)
        return Value(Kind.DATE, text, f"{text} is formatted as a date, and is before the first one")
    total = round(days * _MS_OF_DAY)
    if days < 1:
        total = min(total, _MS_OF_DAY - 1)
    whole_days, rest = divmod(total, _MS_OF_DAY)
    time = f"{rest // 3_600_000:02}:{_minutes(rest % 3_600_000)}"
    if not whole_days and shown is Shown.TIME:
        return Value(Kind.TIME, time)
    kind = Kind.DATE if shown is Shown.DAY and not rest else Kind.TIMESTAMP
    day, is_real = _day(whole_days, is_1904=is_1904)
    text = day if kind is Kind.DATE else f"{day} {time}"
    return Value(kind, text, "" if is_real else f"{text} is no day of the calendar")


def _day(days: int, *, is_1904: bool) -> tuple[str, bool]:
    """Return a day's text, and whether it is a day; 1900-01-00 and 1900-02-29 are shown as such."""
    if not is_1904 and days in (0, _LEAP_DAY_THAT_WAS_NONE):
        return ("1900-02-29" if days else "1900-01-00"), False
    is_early = days < _LEAP_DAY_THAT_WAS_NONE
    epoch = date(1904, 1, 1) if is_1904 else date(1899, 12, 31 if is_early else 30)
    try:
        return (epoch + timedelta(days=days)).isoformat(), True
    except OverflowError:
        return str(days), False
