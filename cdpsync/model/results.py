"""Results of commands: runs and their tables, plans, checks, maintenance, and progress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cdpsync.model.deliveries import DeliveryResult
    from cdpsync.model.plan import SavedState, SyncMode, TableName, TablePlan
    from cdpsync.model.streams import Cursor


ALL_STREAMS = "*"
"""The stream of a failure that stands for all tables of a source, when none is known."""


class TableStatus(StrEnum):
    """The result of a table in a run."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """The reason why a run skipped a table."""

    NOT_DUE = "not due"
    LOCKED = "locked"
    MISSING = "missing"
    STOPPED = "stopped"
    EXCLUDES_NOTHING = "excludes nothing"


class RunStatus(StrEnum):
    """The result of a run: all, some or none of its tables were synced."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A recorded error: the name of its type, and its message without secrets."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the failure of an exception."""
        message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        return cls(type(error).__name__, message)


@dataclass(frozen=True, slots=True)
class TableResult:
    """One table in one run. A row may be read and neither inserted, updated nor deleted.

    `skip_reason` is set for a table that was skipped, and is not recorded: LOCKED means that
    another run works on it, MISSING that its source no longer has it, STOPPED that the run was
    stopped before.
    """

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
    skip_reason: SkipReason | None = None

    @property
    def is_placeholder(self) -> bool:
        """Whether a failure stands for a source, or a pattern of it, none of whose tables is known.

        Its stream is ALL_STREAMS or the pattern.
        """
        return self.mode is None and self.status is TableStatus.FAILED


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run, start to end: its tables, and the destinations that it sent to."""

    run_id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    tables: tuple[TableResult, ...]
    destinations: tuple[DeliveryResult, ...] = ()


class RunKind(StrEnum):
    """Kinds of records in the history: runs, repairs by `verify`, and deletions of tables.

    A repair is no sync. Records older than a table's deletion no longer count for it.
    """

    RUN = "run"
    REPAIR = "repair"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One table in one past run: a record of the history."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    result: TableResult
    kind: RunKind = RunKind.RUN


@dataclass(frozen=True, slots=True)
class Progress:
    """An event during a run: the step of one table, and its rows so far."""

    table: TableName
    step: str  # "reading", "landing", "committing", "done", "failed", "skipped"
    rows: int = 0
    estimated_rows: int | None = None
    chunks_done: int = 0
    chunks: int | None = None
    result: TableResult | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of a run: its tables, those that cannot be planned, and those that are not due.

    `locked` are left out, because another run works on them. `missing` are the saved states of
    streams that are missing at their source since this run, or are back.
    """

    plans: tuple[TablePlan, ...]
    failed: tuple[TableResult, ...] = ()
    skipped: tuple[TableResult, ...] = ()
    locked: tuple[TableResult, ...] = ()
    missing: tuple[SavedState, ...] = ()


@dataclass(frozen=True, slots=True)
class TableOverview:
    """One table of `status`, at one moment.

    `status` is "ok", "failed", "running", "never" or "disabled". `notices` are the last run's.
    `missing_since`: when a run first did not find the stream at its source any more.
    `source_identity` is the label of the source that the table was read from.
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
    missing_since: datetime | None = None
    source_identity: str | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The check of a source, or of the warehouse."""

    name: str
    kind: str
    ok: bool
    seconds: float
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class InstallResult:
    """What was installed for a source. `is_new`: it was not there before."""

    source: str
    program: str | None = None
    version: str | None = None
    licence: str | None = None
    python: str | None = None
    packages: int | None = None
    folder: str | None = None
    is_new: bool = False
    seconds: float = 0.0
    error: Failure | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceOverview:
    """A source of the project file; `address` is where it is, without a user or a secret."""

    name: str
    type: str
    address: str | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class SourceType:
    """A type that a source can have; `file` is its manifest, None for one that is code."""

    name: str
    about: str | None
    docs: tuple[str, ...]
    needs: tuple[str, ...]
    file: str | None


@dataclass(frozen=True, slots=True)
class MaintenanceStep:
    """One step that maintenance did, or would do.

    `step` is "books" (entries of earlier runs), "expire" (snapshots), "compact", "rewrite",
    "merge", "remove", "orphans" (files), "abort" (unfinished uploads), "verified" (chunk caches of
    dropped tables), "in use" for a table that was skipped because a run works on it, or "failed"
    for a table whose files could not be rewritten, with the `error`.
    """

    step: str
    table: str | None
    count: int
    error: Failure | None = None
