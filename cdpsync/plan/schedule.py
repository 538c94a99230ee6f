"""The schedule of a table: when it last ran, and when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.model import (
    RunKind,
    TableStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from cdpsync.model import RunRecord


def last_run(records: Iterable[RunRecord]) -> RunRecord | None:
    """Return the newest run of a table's records, newest first: a repair is no sync."""
    return next((record for record in records if record.kind is RunKind.RUN), None)


def counts_from(last: RunRecord | None) -> datetime | None:
    """Return from when `every` counts: the last run's begin. None where that failed, or is none."""
    return last.started_at if last and last.result.status is TableStatus.OK else None


def next_due(every: timedelta | None, last: RunRecord | None) -> datetime | None:
    """Return when a table's time comes, or came: one whose last run failed is due since then.

    None where that is always: a table without `every`, and one that never ran.
    """
    if every is None or last is None:
        return None
    since = counts_from(last)
    return last.finished_at if since is None else since + every


def is_due(every: timedelta | None, since: datetime | None, now: datetime) -> bool:
    """Whether a table's time has come, where `every` counts from `since` (see `counts_from`).

    Cron starts a little earlier or later each time: a table is due when at most a tenth of its
    interval, and at most a minute, is missing. A table without `every` is always due, and so is
    one whose last run failed. Where `since` lies in the future, the clock was set back: who knows
    when it was.
    """
    if every is None or since is None:
        return True
    slack = min(every.total_seconds() / 10, 60.0)
    passed = (now - since).total_seconds()
    return passed < 0 or passed >= every.total_seconds() - slack
