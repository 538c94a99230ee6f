"""The schedule of a table: its last run, and when the next one is due."""

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
    """Return the latest run among a table's records, which come newest first; repairs are none."""
    return next((record for record in records if record.kind is RunKind.RUN), None)


def counts_from(last: RunRecord | None) -> datetime | None:
    """Return the time that `every` counts from: when the last run started, if it succeeded."""
    return last.started_at if last and last.result.status is TableStatus.OK else None


def next_due(every: timedelta | None, last: RunRecord | None) -> datetime | None:
    """Return when a table is due, or since when. After a failed run it is due at once.

    None for a table that is always due: one without `every`, and one that never ran.
    """
    if every is None or last is None:
        return None
    since = counts_from(last)
    return last.finished_at if since is None else since + every


def is_due(every: timedelta | None, since: datetime | None, now: datetime) -> bool:
    """Whether a table is due, where `every` counts from `since` (see `counts_from`).

    Cron starts a little earlier or later each time. So a table is due when at most a tenth of its
    interval, and at most a minute, is missing. A table without `every` is always due, and so is
    one whose last run failed. It is also due where `since` is in the future, because the clock was
    set back and the true time of that run is unknown.
    """
    if every is None or since is None:
        return True
    slack = min(every.total_seconds() / 10, 60.0)
    passed = (now - since).total_seconds()
    return passed < 0 or passed >= every.total_seconds() - slack
