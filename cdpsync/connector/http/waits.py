"""How long an API asks to wait: `Retry-After` and the headers that stand beside it.

`Retry-After` is seconds or a date: RFC 9110, section 10.2.3. `RateLimit-Reset` is in seconds:
draft-ietf-httpapi-ratelimit-headers. `X-RateLimit-Reset` is a time since 1970 at GitHub, seconds
at others; the size of the number tells.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.connector.http.request import Answer

LONGEST_WAIT = 300.0
"""Seconds that a read waits for an API that asks it to; the run fails if it asks for more."""

_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_REMAINING = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")
_CODES = (b'"RATELIMITED"', b'"RATE_LIMITED"', b'"THROTTLED"')  # errors[].extensions.code
_A_TIME = 1_000_000_000  # seconds since 1970: a larger number is no duration
_MILLISECONDS = 1_000_000_000_000


def is_rate_limited(answer: Answer) -> bool:
    """Whether an answer says that too many requests came.

    Some APIs say so with status 403: GitHub with nothing remaining, or with Retry-After. GraphQL
    APIs say so with a code among the errors of an answer with status 400.
    """
    if answer.status == 429:
        return True
    if answer.status == 400:
        return any(code in answer.body for code in _CODES)
    if answer.status not in {403, 503}:
        return False
    is_used_up = any(answer.headers.get(name, "").strip() == "0" for name in _REMAINING)
    return is_used_up or (answer.status == 403 and "retry-after" in answer.headers)


def wait_asked(answer: Answer, now: float) -> float | None:
    """Return for how many seconds an answer asks to wait; None if it does not say.

    `now` is the time in seconds since 1970.
    """
    asked = answer.headers.get("retry-after")
    if asked is not None:
        return _duration(asked, now)
    if not is_rate_limited(answer):
        return None
    for name in _RESETS:
        if name in answer.headers:
            return _duration(answer.headers[name], now)
    return None


def http_date(text: str) -> datetime | None:
    """Return the time of a header: RFC 9110, section 5.6.7; None for a text that is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _duration(text: str, now: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        moment = http_date(text)
        return None if moment is None else max(moment.timestamp() - now, 0.0)
    if value >= _MILLISECONDS:
        value /= 1000
    return max(value - now if value >= _A_TIME else value, 0.0)
