"""A table of the lake as a feed reads it: which one it is, its columns, its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes, sql_name
from cdpsync.destinations.feeds.changes import has_column, key_text
from cdpsync.errors import CatalogError, ConfigError, suggest
from cdpsync.model import DELETED_AT, Column
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from cdpsync.catalog.ducklake_changes import TableIdentity
    from cdpsync.destinations.feeds.changes import FeedRequest
    from cdpsync.model import TableName

VIRTUAL = ("snapshot_id", "rowid")
"""The columns that DuckLake adds to a table; one of the same name hides them."""

_TABLES = """
    select schema_name || '.' || table_name from duckdb_tables()
    where database_name = 'lake' and schema_name <> 'cdpsync'
    order by all
"""


@dataclass(frozen=True, slots=True)
class FeedTable:
    """A table of the lake as it is now. `key` are the columns that tell its rows apart."""

    name: TableName
    identity: TableIdentity
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def deleted_at(self) -> str | None:
        """The quoted column that marks rows as deleted at their source, if there is one."""
        return quote_name(DELETED_AT) if has_column(self.columns, DELETED_AT) else None

    @property
    def alive(self) -> str:
        """SQL of whether a row is not marked as deleted."""
        return "true" if self.deleted_at is None else f"({self.deleted_at} is null)"

    @property
    def hides_virtual_columns(self) -> bool:
        """Whether a column of its own has the name of one that DuckLake adds."""
        return any(has_column(self.columns, name) for name in VIRTUAL)

    def key_sql(self, row: str = "rowid") -> str:
        """Return SQL of a row's key as text; without a key it is made of `row`."""
        return key_text(self.key) if self.key else f"'[\"' || {row} || '\"]'"

    def key_row(self) -> str:
        """Return SQL of a row as a struct in which only the columns of the key have values."""
        names = {fold_name(name) for name in self.key}
        values = (
            f"{quote_name(column.name)} := "
            + (quote_name(column.name) if fold_name(column.name) in names else "null")
            + f"::{column.type}"
            for column in self.columns
        )
        return f"struct_pack({', '.join(values)})"


def find_table(con: duckdb.DuckDBPyConnection, request: FeedRequest) -> FeedTable:
    """Return the table of a request.

    Raises CatalogError when there is no such table, ConfigError when it lacks a column of the key.
    """
    name = request.table
    identity = None if name is None else ducklake_changes.table_identity(con, name)
    if name is None or identity is None:
        raise CatalogError(_missing_table(con, request))
    columns = described(con, sql_name(name))
    require_key(request, request.key, columns)
    return FeedTable(name, identity, columns, request.key)


def described(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[Column, ...]:
    """Return the columns of a table or of a SELECT in parentheses."""
    rows = con.execute(f"describe select * from {relation}").fetchall()
    return tuple(Column(row[0], row[1]) for row in rows)


def require_key(request: FeedRequest, key: Iterable[str], columns: Iterable[Column]) -> None:
    """Raise ConfigError where a column of the key does not exist."""
    names = [column.name for column in columns]
    for name in key:
        if not has_column(columns, name):
            near = suggest(name, names)
            meant = f' Did you mean "{near}"?' if near else ""
            raise ConfigError(
                f'destination "{request.destination}": key: {request.source} has no column '
                f'"{name}".{meant} It has: {", ".join(names)}.'
            )


def _missing_table(con: duckdb.DuckDBPyConnection, request: FeedRequest) -> str:
    names = [name for (name,) in con.execute(_TABLES).fetchall()]
    near = suggest(request.source, names)
    meant = f' Did you mean "{near}"?' if near else ""
    return (
        f'destination "{request.destination}": the lake has no table {request.source}.{meant} '
        f"Load it: cdpsync run {request.source}; or give another from:."
    )
