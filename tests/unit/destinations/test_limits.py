"""Rates, and answers that ask to wait."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdpsync.destinations.delivery.limits import RateLimiter, asked_delay
from cdpsync.model.destinations import Rate

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def sent(rates: list[Rate], rows: list[int]) -> list[tuple[float, int]]:
    """Return when requests of so many rows are sent, each as early as it may be."""
    limiter, now, times = RateLimiter(rates), 100.0, []
    for count in rows:
        while (delay := limiter.delay(count, now)) > 0:
            now += delay
        limiter.take(count, now)
        times.append((now, count))
    return times


@given(st.integers(1, 50), st.floats(0.1, 60), st.integers(1, 150))
def test_no_interval_has_more_requests(count: int, seconds: float, requests: int) -> None:
    """Wherever it begins."""
    times = [t for t, _ in sent([Rate(count, timedelta(seconds=seconds))], [1] * requests)]
    for index in range(count, len(times)):
        assert times[index] - times[index - count] >= seconds * 0.999_999 - 1e-6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_no_interval_has_more_rows(rows: list[int]) -> None:
    """A request above the whole limit goes alone."""
    times = sent([Rate(30, timedelta(seconds=1), of_rows=True)], rows)
    for start, _ in times:
        within = [count for t, count in times if start <= t < start + 0.999_999]
        assert sum(within) <= 30 or len(within) == 1


def test_all_rates_are_kept() -> None:
    """The strictest counts at each moment."""
    rates = [Rate(5, timedelta(seconds=1)), Rate(8, timedelta(seconds=10))]
    times = [t - 100 for t, _ in sent(rates, [1] * 10)]
    assert times == pytest.approx([0, 0, 0, 0, 0, 1, 1, 1, 10, 10], rel=0.03)


def test_less_than_one_request_per_interval() -> None:
    """One in a longer interval."""
    times = [t - 100 for t, _ in sent([Rate(0.5, timedelta(seconds=1))], [1] * 3)]
    assert times == pytest.approx([0, 2, 4], rel=0.03)


def test_no_rate_is_no_wait() -> None:
    """All at once."""
    assert {t for t, _ in sent([], [1] * 5)} == {100.0}


@pytest.mark.parametrize(
    ("headers", "response", "seconds"),
    [
        ({"retry-after": "120"}, None, 120),
        ({"retry-after": "1.5"}, None, 1.5),
        ({"retry-after": "Sat, 28 Nov 2026 12:01:30 GMT"}, None, 90),
        ({"retry-after": "Sat, 28 Nov 2026 11:00:00 GMT"}, None, 0),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "-5"}, None, None),
        ({"retry-after": "Sat, 28 Nov 99999999999 12:00:00 GMT"}, None, None),
        ({"retry-after": "Sat, 28 Nov 2026 12:00:00 +9999"}, None, None),
        ({"retry-after": ""}, {"retry_after": 0.25}, 0.25),
        ({}, {"retry_after": 3}, 3),
        ({}, {"retry_after": True}, None),
        ({}, {"retry_after": "x"}, None),
        ({}, ["retry_after"], None),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 30)}, None, 30),
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 30) * 1000)}, None, 30),
        ({"x-ratelimit-reset": "12"}, None, 12),
        ({"ratelimit-reset": "4"}, None, 4),
        ({"retry-after": "2", "x-ratelimit-reset": "60"}, None, 2),
        ({}, None, None),
    ],
)
def test_forms_of_retry_after(
    headers: dict[str, str], response: object, seconds: float | None
) -> None:
    """Seconds, a date, a member of the body, the time of a reset; the first that is there."""
    delay = asked_delay(headers, response, NOW)
    assert delay == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=40))
def test_any_text_is_no_error(text: str) -> None:
    """A header is whatever a server sends."""
    delay = asked_delay({"retry-after": text}, None, NOW)
    assert delay is None or delay >= 0


def test_window_forgets_old_requests() -> None:
    """So that its memory does not grow with the run."""
    limiter = RateLimiter([Rate(10, timedelta(seconds=1))])
    moment = 0.0
    for _ in range(1_000):
        moment += random.Random(moment).random()  # noqa: S311 - reproducible
        limiter.delay(1, moment)
        limiter.take(1, moment)
    (window,) = limiter._windows
    assert len(window.sent) < 50
