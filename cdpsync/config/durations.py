"""Durations as people write them: `90s`, `10m`, `1h30m`, `2d`, `1w`."""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from cdpsync.model import Lookback

_DURATION = re.compile(
    r"(?:([0-9]{1,12})w)?(?:([0-9]{1,12})d)?(?:([0-9]{1,12})h)?"
    r"(?:([0-9]{1,12})m)?(?:([0-9]{1,12})s)?"
)
_HOW = "Write 90s, 10m, 1h30m, 2d or 1w"


def parse_duration(text: object) -> timedelta:
    """Return the duration a text says; ValueError if it says none.

    Units go from large to small, each at most once.
    """
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or not found[0]:
        raise ValueError(f"must be a duration. {_HOW}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError(f"must be a duration of less than a million years. {_HOW}") from None


def parse_every(text: object) -> timedelta:
    """Return how often a table is due: a duration above zero, else ValueError."""
    every = parse_duration(text)
    if not every:
        raise ValueError(f"must be longer than zero. {_HOW}")
    return every


def parse_lookback(given: object) -> Lookback:
    """Return a duration, or a plain number for a cursor that counts; else ValueError."""
    number = _number(given)
    if number is not None and number.is_finite() and number >= 0:
        return number
    if number is None:
        try:
            return parse_duration(given)
        except ValueError:
            pass
    raise ValueError(
        "must be a duration such as 90s, 10m or 2d (a number such as 100 for a cursor that "
        "counts), and not below zero"
    )


def _number(given: object) -> Decimal | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        return Decimal(str(given))
    except InvalidOperation:
        return None
