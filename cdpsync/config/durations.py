"""Durations as people write them: `90s`, `10m`, `1h30m`, `2d`, `1w`."""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from cdpsync.model import Lookback

_DURATION = re.compile(
    r"(?:([0-9]{1,12})w)?(?:([0-9]{1,12})d)?(?:([0-9]{1,12})h)?"
    r"(?:([0-9]{1,12})m)?(?:([0-9]{1,12})s)?"
)
_EXAMPLES = "Write 90s, 10m, 1h30m, 2d or 1w"


def parse_duration(text: object) -> timedelta:
    """Return the duration in a text; ValueError if there is none.

    Units go from large to small, each at most once.
    """
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or not match[0]:
        raise ValueError(f"must be a duration. {_EXAMPLES}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError(f"must be a duration of less than a million years. {_EXAMPLES}") from None


def parse_every(text: object) -> timedelta:
    """Return how often a table is due: a duration above zero, else ValueError."""
    every = parse_duration(text)
    if not every:
        raise ValueError(f"must be longer than zero. {_EXAMPLES}")
    return every


def parse_lookback(value: object) -> Lookback:
    """Return a duration, or a number for a number cursor; else ValueError."""
    number = _number(value)
    if number is not None and number.is_finite() and number >= 0:
        return number
    if number is None:
        try:
            return parse_duration(value)
        except ValueError:
            pass
    raise ValueError(
        "must be a duration such as 90s, 10m or 2d (a number such as 100 for a number cursor), and "
        "not below zero"
    )


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
