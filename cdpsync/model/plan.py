"""The plan of one table for one run, with its parts: modes, the lake's table, the saved state."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from cdpsync.model.streams import CursorType
from cdpsync.model.types import OPEN_DECIMAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cdpsync.model.identity import SourceIdentity
    from cdpsync.model.streams import Column, Cursor, Stream


class SyncMode(StrEnum):
    """How a table is kept: upsert by key, append new rows, or replace all rows."""

    INCREMENTAL = "incremental"
    APPEND_ONLY = "append_only"
    FULL_TABLE = "full_table"


class Deletes(StrEnum):
    """What happens to rows that were deleted at the source: kept, removed, or marked."""

    IGNORE = "ignore"
    HARD = "hard"
    SOFT = "soft"


class SchemaChanges(StrEnum):
    """What a run does when the source adds, drops or changes a column."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    ASK = "ask"


Lookback = timedelta | Decimal
"""How far below its cursor a read starts: a duration, or a number for a number cursor."""


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that a read asks for: cursor >= `low`, and those whose cursor is NULL."""

    cursor_field: str
    low: Cursor


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table of the lake: `shop.orders`.

    It equals its text, and has the text's hash, because results had text in this place at first:
    `result.table == "shop.orders"` of an older script must not turn false in silence.
    """

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name of `shop.orders`. A schema has no dot, so the first one separates."""
        schema, _, name = text.partition(".")
        return cls(schema, name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def __eq__(self, value: object) -> bool:
        if isinstance(value, TableName):
            return (self.schema, self.name) == (value.schema, value.name)
        return str(self) == value if isinstance(value, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def derived_table_name(stream: str, omitted_schema: str | None) -> str:
    """Return the name of a stream's table in the lake, as long as nothing else gives it one."""
    schema, _, name = stream.rpartition(".")
    return name if schema in {"", omitted_schema} else stream.replace(".", "_")


_SAMPLE, _REJECTED = "__sample", "__rejected"


def sample_name(table: TableName) -> TableName:
    """Return the table that a sample load of a table fills: `shop.orders__sample`."""
    return TableName(table.schema, f"{table.name}{_SAMPLE}")


def is_side_table(table: TableName) -> bool:
    """Whether a table has the name of a sample, or of rejected records."""
    return table.name.endswith((_SAMPLE, _REJECTED))


def rejected_name(table: TableName) -> TableName:
    """Return the table of the records that were no rows of a table: `shop.orders__rejected`."""
    return TableName(table.schema, f"{table.name}{_REJECTED}")


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table that exists in the lake: its columns with the types it has there.

    `rows`: how many it has, where that is known without counting. `added_columns`: the columns that
    were added after the table was made, in lower case; rows loaded before have NULL there.
    `unsafe_columns` got a type that does not fit their old rows, by an earlier version of cdpsync.
    """

    name: TableName
    columns: tuple[Column, ...]
    rows: int | None = None
    added_columns: frozenset[str] = frozenset()
    unsafe_columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SavedState:
    """The state of a table that is saved between runs, in the catalog and in the state file.

    `reset`: the next run loads from the start. `settings` are the options of the project file that
    the table's rows depend on, as JSON. `deletes_at` is when the lake's keys were last compared
    with the source's. `columns` are the stream's columns at the last run, with their types at the
    source; `identity` is the stream's identity then, and `source_identity` that of the source, None
    where it is not known. `missing_since` is when a run first did not find the stream at its
    source; None: it is there.
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
    missing_since: datetime | None = None
    source_identity: SourceIdentity | None = None


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What one run will do with one table. `limit`: read at most so many rows.

    `compares_keys`: the run looks for rows whose key the source no longer has. `compares_rows`: the
    rows that are read replace the lake's table only where they differ from it. `saved_state` is the
    state that the table's last commit saved. `is_rebuilt`: the table at the source is another one,
    or the same one after an ALTER; only its rows can tell. `lake_digits` are those of
    `ReadRequest`: set once a value did not fit the type that earlier rows gave its column.
    `source_identity` is saved with the rows. `source_change` names the source that the lake's rows
    were read from, and this one, where they differ; with `is_other_source` none of them may stay.
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
    compares_rows: bool = False
    saved_state: SavedState | None = None
    limit: int | None = None
    is_rebuilt: bool = False
    lake_digits: Mapping[str, tuple[int, int]] | None = None
    source_identity: SourceIdentity | None = None
    source_change: str = ""
    is_other_source: bool = False

    @property
    def follows_state(self) -> bool:
        """Whether the read goes on from a state that the source reported, and reports the next."""
        return self.cursor_type is CursorType.STATE

    def is_guessed(self, name: str) -> bool:
        """Whether only the rows give a column its type: neither the source nor the user does."""
        return name not in self.types and any(
            column.name == name and column.type == OPEN_DECIMAL for column in self.columns
        )
