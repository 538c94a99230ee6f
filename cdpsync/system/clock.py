"""The clock: the one place that asks what time it is, so that a test may say it."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return this moment, in UTC."""
    return datetime.now(UTC)
