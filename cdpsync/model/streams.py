"""Frozen values for tables: at a source (`Stream`), in the lake, and planned for a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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


DELETED_AT_COLUMN = Column(DELETED_AT, "TIMESTAMP WITH TIME ZONE")
"""The column of the marks."""


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """A source's log of changes, for streams that have one.

    `cursor` is the column that a read of changes adds to its rows: when the row last changed.
    `retention` is how long the source keeps the log; an older cursor cannot be followed.
    `includes_deletes`: deleted rows are in the log too, with `_deleted_at` set.
    """

    cursor: Column
    retention: timedelta | None = None
    includes_deletes: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Something at a source that can become a table.

    `table` is its name in the lake without the source: `orders`, or `audit_log` for a stream
    outside the source's default schema. `key_enforced` is False where the source only declares a
    primary key and lets rows repeat it. With `open_schema`, rows may have more columns than are
    listed. `changes` is set where `incremental` follows a log instead of a column. With
    `has_safe_cursor`, the stream's reads say below which cursor no late row can appear; of other
    streams, the last minutes below a cursor of time are read again. `identity` tells a table from
    a later one of the same name. `unreadable_reason` says why a stream cannot be read, and what to
    do: its table fails with that message, and the others do not.
    """

    name: str
    table: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    cursor_fields: tuple[str, ...] = ()
    estimated_rows: int | None = None
    kind: str = "table"
    key_enforced: bool = True
    open_schema: bool = False
    changes: ChangeLog | None = None
    has_safe_cursor: bool = False
    identity: str | None = None
    unreadable_reason: str | None = None

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
class LakeTable:
    """A table that exists in the lake: its columns with the types it has there.

    `rows`: how many it has, where that is known without counting. `added_columns`: the columns that
    were added after the table was made, in lower case; rows loaded before have NULL there.
    """

    name: TableName
    columns: tuple[Column, ...]
    rows: int | None = None
    added_columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SavedState:
    """The state of a table that is saved between runs, in the catalog and in the state file.

    `reset` asks that the next run loads from the start. `settings` are the options of the project
    file that the table's rows depend on, as JSON. `deletes_at` is when the lake's keys were last
    compared with the source's. `columns` are the stream's columns at the last run, with their
    types at the source; `identity` is the stream's identity then.
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

    `compares_keys`: rows whose key the source no longer has are looked for. `saved_state` is the
    state that the table's last commit saved.
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
    lake_table: LakeTable | None = None
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
    saved_state: SavedState | None = None
