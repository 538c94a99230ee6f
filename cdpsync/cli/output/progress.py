"""Progress of a run on stderr: bars on a terminal, now and then a line elsewhere.

The events come from several threads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync.cli.output import log
from cdpsync.cli.output.log import LogFormat
from cdpsync.cli.output.run_summary import log_table
from cdpsync.model import TableStatus
from cdpsync.serialize.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cdpsync.cli.session import Session
    from cdpsync.model import Failure, Progress, TableResult

PAUSE = 10.0
"""Seconds between two lines about one table."""


@contextmanager
def shown(session: Session) -> Iterator[Lines | Live | None]:
    """Lend a listener that shows progress events; None under `-q`."""
    if session.quiet:
        yield None
    elif session.log_format is LogFormat.TEXT and _can_draw():
        with _bars() as bars:
            yield Live(bars)
    else:
        yield Lines()


class Failures:
    """The failures of a run that were logged, by source and stream. Each reason is logged once."""

    def __init__(self) -> None:
        self.logged: set[tuple[str, str]] = set()
        self._tables: dict[Failure | None, str] = {}

    def log(self, result: TableResult) -> None:
        """Log the result of a table, and remember a failure."""
        if result.status is not TableStatus.FAILED:
            log_table(result)
            return
        log_table(result, same_as=self._tables.get(result.error))
        self._tables.setdefault(result.error, str(result.table))
        self.logged.add((result.source, result.stream))


class Lines:
    """A log line when a table starts, one per `PAUSE` seconds at most, and one when it ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = Failures()
        self._clock = clock
        self._guard = threading.Lock()
        self._started: dict[str, float] = {}
        self._logged_at: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Log the event if a line is due. Safe from any thread."""
        if progress.result is not None:
            with self._guard:
                self.failures.log(progress.result)
            return
        table, now = str(progress.table), self._clock()
        with self._guard:
            started = self._started.setdefault(table, now)
            if now - self._logged_at.get(table, now - PAUSE) < PAUSE:
                return
            self._logged_at[table] = now
        log.info(
            f"{table}: {_step_text(progress, now - started)}",
            event="progress",
            table=table,
            step=progress.step,
            rows=progress.rows,
            estimated_rows=progress.estimated_rows,
            chunks_done=progress.chunks_done,
            chunks=progress.chunks,
        )


class Live:
    """A bar for each table at work. It goes when the table ends; a failure is logged."""

    def __init__(self, bars: Bars) -> None:
        self.failures = Failures()
        self._bars = bars
        self._guard = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        """Move the table's bar. Safe from any thread."""
        table = str(progress.table)
        with self._guard:
            if progress.result is not None:
                if table in self._tasks:
                    self._bars.remove_task(self._tasks.pop(table))
                if progress.result.status is TableStatus.FAILED:
                    self.failures.log(progress.result)
                return
            if table not in self._tasks:
                self._tasks[table] = self._bars.add_task(printable(table), total=None, rows="")
            done, total = _share(progress)
            task = self._tasks[table]
            elapsed = next(t.elapsed for t in self._bars.tasks if t.id == task) or 0.0
            self._bars.update(task, completed=done, total=total, rows=_step_text(progress, elapsed))


def _step_text(progress: Progress, elapsed: float) -> str:
    """Return a table's step and rows: `reading 12,345 rows of about 1,000,000, 4,115 rows/s`."""
    if not progress.rows:
        return f"{progress.step} …"
    text = f"{progress.step} {plural(progress.rows, 'row')}"
    if progress.estimated_rows and progress.rows <= progress.estimated_rows:
        text += f" of about {progress.estimated_rows:,}"
    if progress.chunks and progress.chunks > 1:
        text += f", {progress.chunks_done:,} of {progress.chunks:,} chunks"
    return f"{text}, {progress.rows / elapsed:,.0f} rows/s" if elapsed > 0 else text


def _share(progress: Progress) -> tuple[float, float | None]:
    """Return (done, total): chunks if there are several, else rows of the estimate."""
    if progress.chunks and progress.chunks > 1:
        return progress.chunks_done, progress.chunks
    if progress.estimated_rows:
        return min(progress.rows, progress.estimated_rows), progress.estimated_rows
    return 0, None


def _can_draw() -> bool:
    return sys.stderr.isatty() and os.getenv("TERM") not in ("dumb", "unknown")


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars

    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
        redirect_stdout=False,
    )
