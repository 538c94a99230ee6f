"""Texts of an API that a schema declares as times: whether a column of times holds each exactly."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DAY = r"\d{4}-\d{2}-\d{2}"
_MINUTES = r"(?:[01]\d|2[0-3]):[0-5]\d"
_CLOCK = rf"{_MINUTES}(?::[0-5]\d(?:\.\d{{1,6}})?)?"
_OFFSET = r"(?:Z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)"
_LONGEST = 40

# The forms that `exact_sql.exact_cast` takes.
_FORMS = {
    "DATE": re.compile(_DAY),
    "TIMESTAMP": re.compile(rf"{_DAY}(?:[T ]{_CLOCK})?"),
    "TIMESTAMP WITH TIME ZONE": re.compile(
        rf"{_DAY}(?:[T ](?:{_CLOCK}|{_MINUTES}:[0-5]\d(?:\.\d{{1,6}})?{_OFFSET}))?"
    ),
}

TEXT_TIMES = frozenset(_FORMS)
"""The types of times that may be declared for texts. One without offset is UTC."""


def fits_time(type_: str) -> Callable[[str], bool]:
    """Return a function that says whether a text is a time that this type holds exactly."""
    fullmatch = _FORMS[type_].fullmatch

    def fits(text: str) -> bool:
        if len(text) > _LONGEST or not fullmatch(text):
            return False
        return _is_day(text[:10])

    return fits


@lru_cache(maxsize=1_000)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
