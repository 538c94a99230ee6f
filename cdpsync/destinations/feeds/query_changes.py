"""The changes of a query's result since it was delivered: key by key against the kept copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes, sql_name
from cdpsync.catalog.snapshots import table_history
from cdpsync.destinations.feeds.changes import (
    FeedRequest,
    FeedResult,
    changes_result,
    drop_changes,
    key_text,
    row_struct,
    struct_type,
    write_changes,
)
from cdpsync.destinations.feeds.delivered_copy import digest_sql, old_row, read_copy, write_copy
from cdpsync.destinations.feeds.lake_tables import described, find_table, require_key
from cdpsync.destinations.feeds.positions import position_at
from cdpsync.destinations.feeds.query_tables import source_tables
from cdpsync.engine import first_line
from cdpsync.errors import ConfigError
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from cdpsync.model import Column, TableName
    from cdpsync.model.deliveries import Position

_ROWS = """
    create or replace temp table feed_rows as
    select {key} as key, {digest} as digest, row_number() over () as ord, {row} as "row",
        {has_null} as has_null
    from {rows}
"""

_WRONG_KEYS = """
    select key, count(*), bool_or(has_null)
    from feed_rows
    group by key
    having count(*) > 1 or bool_or(has_null)
    order by all
    limit 1
"""

_DIFFERENCES = """
    select
        coalesce(n.key, o.key) as key,
        case when o.key is null then 'insert' when n.key is null then 'delete' else 'update' end
            as change,
        {snapshot} as snapshot_id,
        coalesce(n.ord, 0) as ord,
        coalesce(n."row", o.last) as "row",
        o.old
    from feed_rows as n
    full join (select key, digest, {last} as last, {old} as old from {copy}) as o using (key)
    where n.digest is distinct from o.digest
"""

_EVERYTHING = """
    select key, 'insert' as change, {snapshot} as snapshot_id, ord, "row", null::{type} as old
    from feed_rows
"""


class QueryFeed:
    """The feed of a destination with `sql:` and `key:`, or of a table with `keep`.

    With `start: now`, `read` and `write_copy` are called, and nothing is sent. With a time, they
    are called on a reader at the snapshot of that time.
    """

    def __init__(self, request: FeedRequest) -> None:
        self.request = request
        self._columns: tuple[Column, ...] = ()

    def is_behind(self, con: duckdb.DuckDBPyConnection, position: Position | None) -> bool:
        """Whether a table that the query reads may have changed, or its result changes with time.

        Raises ConfigError where the query is not one SELECT.
        """
        if position is None or self.request.copy is None:
            return True
        snapshots = ducklake_changes.snapshots(con, position.snapshot_id)
        if not snapshots or snapshots[0].id != position.snapshot_id:
            return True
        if snapshots[0].time != position.snapshot_time:
            return True
        tables = [self.request.table] if self.request.table else self._tables(con)
        if tables is None:
            return True
        for name in tables:
            identity = ducklake_changes.table_identity(con, name)
            if identity is None or identity.created > position.snapshot_id:
                return True
            if not table_history(snapshots, position.snapshot_id, name, identity.id).is_empty:
                return True
        return False

    def read(self, con: duckdb.DuckDBPyConnection, after: Position | None) -> FeedResult:  # noqa: ARG002 - the copy says what was delivered
        """Make the relation `changes` of what differs from the copy; without one, of all rows.

        Raises ConfigError where the query fails, or `key` does not tell its rows apart.
        """
        self._read_rows(con)
        snapshots = ducklake_changes.snapshots(con)
        newest, type_ = snapshots[-1], struct_type(self._columns)
        if self.request.copy is None:
            rows = _EVERYTHING.format(snapshot=newest.id, type=type_)
        else:
            kept = old_row(con, self.request.copy, self._columns)
            rows = _DIFFERENCES.format(
                snapshot=newest.id,
                copy=read_copy(self.request.copy),
                last=kept or self._row_of_key(),
                old=kept if kept and self.request.needs_old else f"null::{type_}",
            )
        write_changes(con, self.request, rows, snapshots)
        uuid = None
        if self.request.table is not None:
            uuid = find_table(con, self.request).identity.uuid
        return changes_result(con, self.request, position_at(self.request, newest, uuid))

    def write_copy(
        self, con: duckdb.DuckDBPyConnection, target: Path, leave_out: str | None = None
    ) -> bool:
        """Write the copy of what is delivered once the changes are: see `Feed.write_copy`."""
        columns = self._columns if self.request.needs_old else ()
        write_copy(con, target, columns, self.request.copy, leave_out)
        return True

    def _tables(self, con: duckdb.DuckDBPyConnection) -> list[TableName] | None:
        return source_tables(con, self.request.destination, self.request.sql or "")

    def _read_rows(self, con: duckdb.DuckDBPyConnection) -> None:
        """Run the query once into `feed_rows`: its result may differ the next time."""
        import duckdb

        drop_changes(con)
        rows, key = self._relation(con), self.request.key
        con.execute("use lake")
        try:
            self._columns = described(con, rows)
            require_key(self.request, key, self._columns)
            con.execute(
                _ROWS.format(
                    key=key_text(key),
                    digest=digest_sql(self._columns),
                    row=row_struct(self._columns),
                    has_null=" or ".join(f"{quote_name(name)} is null" for name in key),
                    rows=rows,
                )
            )
        except duckdb.Error as error:
            raise ConfigError(
                f'destination "{self.request.destination}": sql: {first_line(error)}.'
            ) from error
        finally:
            con.execute("use memory")
        self._require_distinct_keys(con)

    def _relation(self, con: duckdb.DuckDBPyConnection) -> str:
        if self.request.table is not None:
            table = find_table(con, self.request)
            return f"(select * from {sql_name(table.name)} where {table.alive})"
        self._tables(con)
        return f"({self.request.sql}\n)"

    def _require_distinct_keys(self, con: duckdb.DuckDBPyConnection) -> None:
        row = con.execute(_WRONG_KEYS).fetchone()
        if row is None:
            return
        key, count, has_null = row
        columns = ", ".join(self.request.key)
        problem = "has NULL" if has_null else f"is shared by {count} rows"
        raise ConfigError(
            f'destination "{self.request.destination}": key: [{columns}] does not tell the rows of '
            f"{self.request.source} apart: {key} {problem}. Give columns that do, or group by them."
        )

    def _row_of_key(self) -> str:
        """Return SQL of a row with the columns of the key alone, from the key's text."""
        numbers = {fold_name(name): number for number, name in enumerate(self.request.key)}
        values = []
        for column in self._columns:
            number = numbers.get(fold_name(column.name))
            text = "null" if number is None else f"json_extract_string(key, '$[{number}]')"
            values.append(f"{quote_name(column.name)} := cast({text} as {column.type})")
        return f"struct_pack({', '.join(values)})"
