"""The vocabulary: what every other module speaks of, as frozen values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class SyncMode(StrEnum):
    """How a table is kept: upsert by key, append what is new, or replace."""

    INCREMENTAL = "incremental"
    APPEND_ONLY = "append_only"
    FULL_TABLE = "full_table"


class Deletes(StrEnum):
    """What becomes of rows that the source no longer has: kept, removed, or marked."""

    IGNORE = "ignore"
    HARD = "hard"
    SOFT = "soft"


class SchemaChanges(StrEnum):
    """What becomes of columns that come, go or change at the source."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    ASK = "ask"


DELETED_AT = "_deleted_at"
"""The column in which `deletes: soft` marks rows, and in which a log tells of deleted ones."""


class CursorType(StrEnum):
    """The types whose order a cursor may follow."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"


CursorValue = int | Decimal | date | datetime


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it arrives in the lake.

    `type` is the DuckDB type in DuckDB's own spelling (`DECIMAL(10,2)`, `TIMESTAMP WITH TIME
    ZONE`, `INTEGER[]`). A type that only the rows can tell stands as `DECIMAL(38,?)`.
    """

    name: str
    type: str
    nullable: bool = True
    source_type: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a source tells what changed since a moment, where it keeps a log of that.

    `cursor` is the column that a read of changes adds to its rows: when the row last changed.
    `kept` is how long the source remembers; a cursor that is older cannot be followed.
    `deletions`: rows that are gone come too, with `_deleted_at` set.
    """

    cursor: Column
    kept: timedelta | None = None
    deletions: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Something at a source that can become a table.

    `table` is its name in the lake without the source: `orders`, or `audit_log` for a stream
    outside the source's default schema. `key_enforced` is False where the source only notes a
    primary key and lets rows repeat it. An `open` stream may have more columns than are listed:
    only its rows tell. `changes` stands where `incremental` follows a log instead of a column.
    A stream `settles` when its reads say how far no late row can appear; of others, those with a
    cursor of time are read again for some minutes. `identity` tells a table from a later one of
    the same name.
    """

    name: str
    table: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    cursor_fields: tuple[str, ...] = ()
    estimated_rows: int | None = None
    kind: str = "table"
    key_enforced: bool = True
    open: bool = False
    changes: Changes | None = None
    settles: bool = False
    identity: str | None = None

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a table has been read: the highest value seen of its cursor field."""

    type: CursorType
    value: CursorValue


Lookback = timedelta | Decimal


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows a read asks for: cursor >= `low`, and those whose cursor is NULL."""

    cursor_field: str
    low: Cursor


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table of the lake: `shop.orders`."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the YAML may say of a table. None means: not said here."""

    enabled: bool | None = None
    mode: SyncMode | None = None
    cursor_field: str | None = None
    primary_key: tuple[str, ...] | None = None
    lookback: Lookback | None = None
    every: timedelta | None = None
    name: str | None = None
    where: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    types: Mapping[str, str] | None = None
    allow_shrink: bool | None = None
    deletes: Deletes | None = None
    deletes_every: timedelta | None = None
    schema_changes: SchemaChanges | None = None

    def over(self, other: TableOptions) -> TableOptions:
        """Return these options, with what they do not say taken from `other`."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class TableRule:
    """One key under `tables:`, an exact stream name or a glob, and where it stands."""

    pattern: str
    options: TableOptions
    location: str

    @property
    def is_glob(self) -> bool:
        """Whether the key may match more than one stream."""
        return any(sign in self.pattern for sign in "*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the project file.

    `options` is the connector's own, validated `Options`; it shows no secret when printed.
    """

    name: str
    type: str
    options: object
    location: str
    every: timedelta | None = None
    defaults: TableOptions = field(default_factory=TableOptions)
    tables: tuple[TableRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where the lake lives. `path` is an absolute folder, or a bucket URL."""

    path: str
    catalog: Path
    state: Path
    storage: object = None
    location: str = ""
    spool_max: int = 4 << 30  # bytes that may wait for their upload
    keep: timedelta = timedelta(days=7)  # how long old snapshots can be asked
    publish: bool = False  # a copy of the catalog beside the data, after each run


@dataclass(frozen=True, slots=True)
class Config:
    """A whole project: the warehouse, its sources by name, and the files they stand in."""

    warehouse: Warehouse
    sources: Mapping[str, Source]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table that exists in the lake: its columns with the types it has there.

    `rows`: how many it has, where that is known without counting.
    """

    name: TableName
    columns: tuple[Column, ...]
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class CursorEntry:
    """What is remembered of a table between runs, in the catalog and in the state file.

    `reset` asks that the next run loads from the start. `settings` is what the project file said
    of the table that its rows depend on, as JSON. `deletes_at` is when the lake's keys were last
    compared with the source's. `columns` are those of the stream at the last run, with their types
    there, and `identity` what the stream was then.
    """

    source: str
    stream: str
    table: TableName
    mode: SyncMode | None
    cursor_field: str | None
    cursor: Cursor | None
    run_id: str | None
    committed_at: datetime | None
    reset: bool = False
    settings: str | None = None
    deletes_at: datetime | None = None
    columns: Mapping[str, str] | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What one run will do with one table.

    `compares_keys`: rows whose key the source no longer has are to be found, too. `made_anew`: the
    stream is not the one that was read before, though it has its name.
    """

    source: str
    stream: Stream
    table: TableName
    mode: SyncMode
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    cursor_field: str | None = None
    cursor_type: CursorType | None = None
    cursor_before: Cursor | None = None
    window: Window | None = None
    lookback: Lookback | None = None
    where: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    landed: LakeTable | None = None
    replace: bool = True
    full_refresh: bool = False
    allow_shrink: bool = False
    every: timedelta | None = None
    location: str = ""
    settings: str = ""
    notices: tuple[str, ...] = ()
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    deletes: Deletes = Deletes.IGNORE
    compares_keys: bool = False
    deletes_at: datetime | None = None
    made_anew: bool = False


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
    table: str
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


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One table in one past run, as the history tells it."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    result: TableResult


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
class TableState:
    """One table as `status` tells it, at one moment.

    `status` is "ok", "failed", "running", "never" or "disabled". `notices` are the last run's.
    """

    source: str
    stream: str
    table: str
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
class Chore:
    """One thing that maintenance did, or would do.

    `step` is "books" (entries of earlier runs), "expire" (snapshots), "compact", "rewrite",
    "merge", "remove", "orphans" (files), "abort" (unfinished uploads), or "in use" for a table that
    was left alone.
    """

    step: str
    table: str | None
    count: int
