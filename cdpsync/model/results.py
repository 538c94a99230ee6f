"""What came of it: runs, their tables, and what commands tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cdpsync.model.plan import SyncMode, TableName, TablePlan
    from cdpsync.model.streams import Cursor


ALL_STREAMS = "*"
"""The stream of a failure that stands for a source's tables while none of them is known."""


class TableStatus(StrEnum):
    """How a table came out of a run."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    """How a run came out: every table, some of them, or none."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is recorded: its type's name and its message, without secrets."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an error."""
        message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        return cls(type(error).__name__, message)


@dataclass(frozen=True, slots=True)
class TableResult:
    """One table in one run. Read, inserted, updated and deleted are different numbers."""

    source: str
    stream: str
    table: TableName
    mode: SyncMode | None
    status: TableStatus
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_in_table: int | None = None
    bytes_written: int = 0
    cursor_before: Cursor | None = None
    cursor_after: Cursor | None = None
    seconds: float = 0.0
    error: Failure | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run, start to end."""

    run_id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    tables: tuple[TableResult, ...]


class RunKind(StrEnum):
    """What the history holds: runs, the repairs of `verify`, which sync nothing, and deletions.

    What is older than a table's deletion tells of it no more.
    """

    RUN = "run"
    REPAIR = "repair"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One table in one past run, as the history tells it."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    result: TableResult
    kind: RunKind = RunKind.RUN


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one table is, told to whoever listens while a run goes on."""

    table: TableName
    step: str  # "reading", "landing", "committing", "done", "failed", "skipped"
    rows: int = 0
    estimated_rows: int | None = None
    chunks_done: int = 0
    chunks: int | None = None
    result: TableResult | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do: plans, tables that cannot be planned, and tables that are not due."""

    plans: tuple[TablePlan, ...]
    failed: tuple[TableResult, ...] = ()
    skipped: tuple[TableResult, ...] = ()


@dataclass(frozen=True, slots=True)
class TableOverview:
    """One table as `status` tells it, at one moment.

    `status` is "ok", "failed", "running", "never" or "disabled". `notices` are the last run's.
    """

    source: str
    stream: str
    table: TableName
    mode: SyncMode | None
    enabled: bool
    every: timedelta | None
    status: str
    last_run_at: datetime | None = None
    last_success_at: datetime | None = None
    next_due_at: datetime | None = None
    rows: int | None = None
    cursor_field: str | None = None
    cursor: Cursor | None = None
    error: Failure | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that `check` tried: a source, or the warehouse."""

    name: str
    kind: str
    ok: bool
    seconds: float
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class MaintenanceStep:
    """One thing that maintenance did, or would do.

    `step` is "books" (entries of earlier runs), "expire" (snapshots), "compact", "rewrite",
    "merge", "remove", "orphans" (files), "abort" (unfinished uploads), "verified" (what was
    known of tables that are gone), or "in use" for a table that was left alone.
    """

    step: str
    table: str | None
    count: int
