"""Streams: the tables of a source, with their columns and cursors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

DELETED_AT = "_deleted_at"
"""The column that `deletes: soft` fills in, and that a change log fills in for deleted rows."""


class CursorType(StrEnum):
    """The types whose order a cursor may follow; a STATE is text of the source, without order."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    STATE = "state"


CursorValue = int | Decimal | date | datetime | str
"""A STATE is a text, which is JSON; each other type has a value of its own type."""

MAX_STATE = 1 << 20
"""The most bytes of a state that is kept."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a stream, or of a table of the lake.

    `type` is the DuckDB type in DuckDB's own spelling (`DECIMAL(10,2)`, `TIMESTAMP WITH TIME
    ZONE`, `INTEGER[]`). `DECIMAL(38,?)` is a type whose scale is known only from the rows.
    """

    name: str
    type: str
    nullable: bool = True
    source_type: str = ""


BY_VALUES = "by its values"
"""The `source_type` of a column whose type only its values give: text, until there are some."""

DELETED_AT_COLUMN = Column(DELETED_AT, "TIMESTAMP WITH TIME ZONE")
"""The column `_deleted_at` with its type."""

REJECTED_COLUMNS = (
    Column("file", "VARCHAR"),
    Column("line", "BIGINT"),
    Column("reason", "VARCHAR"),
    Column("text", "VARCHAR"),
)
"""The columns of records that were set aside: where each is, why it is no row, and its text."""


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """A source's log of changes, for streams that have one.

    `cursor` is the column that a read of changes adds to its rows: when the row last changed. None:
    no column tells, and a read goes on from the state that the one before it reported.
    `retention` is how long the source keeps the log; an older cursor cannot be followed.
    `includes_deletes`: deleted rows are in the log too, with `_deleted_at` set. `kept_since`: from
    when on the source has the log, by its own clock; without it this machine's clock decides.
    """

    cursor: Column | None
    retention: timedelta | None = None
    includes_deletes: bool = False
    kept_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A table, view, file set or API list of a source that can become a table of the lake.

    `table` is its name in the lake without the source: `orders`, or `audit_log` for a stream
    outside the source's default schema. `former_table` is the name that an earlier version gave
    it: a table that the lake has under that name keeps it. `key_enforced` is False where the
    source only declares a primary key and lets rows repeat it. With `open_schema`, rows may have
    more columns than are listed. `changes` is set where `incremental` follows a log instead of a
    column. With `has_safe_cursor`, each read reports the cursor below which no late row can
    appear; of other streams, a run reads the last minutes or numbers below a cursor again, and
    `unsafe_cursor_reason` says why, and what would help. `identity` differs between a table and a
    later one of the same name. With `rebuild_changes_identity`, so may a table's own before and
    after an ALTER; it is then a server and a number, and numbers of two servers are not compared.
    `rewrite` is one or more marks, with commas between them: none of them is there any more once
    all rows of one and the same table were rewritten at the source, as by a TRUNCATE. It is then
    read from its start, and merged.
    `unreadable_reason` says why a stream cannot be read, and what to do: its table fails with that
    message, and the others do not. `only_if_named` says why a source without `tables:` leaves the
    stream out, unless the lake has it already. `row_format` is the form in which the source writes
    its rows, such as the version of its API: rows of another one stay as they are until a reload.
    `notices` are sentences that a person should know about the stream.
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
    unsafe_cursor_reason: str = ""
    identity: str | None = None
    rebuild_changes_identity: bool = False
    rewrite: str | None = None
    unreadable_reason: str | None = None
    only_if_named: str | None = None
    row_format: str | None = None
    notices: tuple[str, ...] = ()
    former_table: str | None = None

    @property
    def saved_identity(self) -> str | None:
        """The identity as the catalog keeps it beside a cursor, with the last rewrite."""
        if self.identity is None or self.rewrite is None:
            return self.identity
        return f"{self.identity} {self.rewrite}"

    @property
    def follows_state(self) -> bool:
        """Whether a read goes on from a state of the source, and not from a column's value."""
        return self.changes is not None and self.changes.cursor is None

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a table has been read: the highest value of its cursor field, or a source's state."""

    type: CursorType
    value: CursorValue
