"""Rates of requests, as people write them: `10/s`, `100/min`, `5000/h`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
}


def requests_a_second(value: object) -> object:
    """Parse `10/s`, `100/min` or a number as requests a second. Raises ValueError otherwise."""
    if isinstance(value, bool) or value is None:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*([a-z]+))?", str(value).strip())
    if not match or (match[2] or "s") not in _SECONDS:
        raise ValueError("write requests per time: 10/s, 100/min or 5000/h")
    return float(match[1]) / _SECONDS[match[2] or "s"]


Rate = Annotated[float, BeforeValidator(requests_a_second), Field(gt=0, le=10_000)]
"""Requests a second."""
