"""DuckLake's metadata on changes: snapshots, which table has a name, rows inserted and deleted.

With `ducklake` the only module with SQL on them. Its statements have no parameters, because DuckDB
imports numpy, pandas and pyarrow for the first statement of a process that has some: 0.4 s and
100 MB, measured with DuckDB 1.5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog.snapshots import Snapshot
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from cdpsync.model import TableName

_SNAPSHOTS = """
    select s.snapshot_id, s.snapshot_time, c.author, c.commit_message, c.changes_made
    from __ducklake_metadata_lake.ducklake_snapshot as s
    left join __ducklake_metadata_lake.ducklake_snapshot_changes as c using (snapshot_id)
    where s.snapshot_id >= {first}
    order by s.snapshot_id
"""

SNAPSHOT_TIMES = """
    select snapshot_id, snapshot_time from __ducklake_metadata_lake.ducklake_snapshot
"""
"""SQL of the snapshots that have not expired, and when they were committed."""

_TABLE_IDENTITY = """
    select t.table_id, t.table_uuid::varchar, t.begin_snapshot
    from __ducklake_metadata_lake.ducklake_table as t
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    where s.schema_name = {schema} and t.table_name = {name}
        and s.begin_snapshot <= {at} and coalesce(s.end_snapshot > {at}, true)
        and t.begin_snapshot <= {at} and coalesce(t.end_snapshot > {at}, true)
"""

_RECREATED_COLUMNS = """
    select c.column_name
    from __ducklake_metadata_lake.ducklake_column as c
    join __ducklake_metadata_lake.ducklake_column as old using (table_id, column_name)
    where c.table_id = {table_id} and c.column_id <> old.column_id
        and c.parent_column is null and old.parent_column is null
        and c.end_snapshot is null and c.begin_snapshot > {since}
        and old.begin_snapshot <= {since} and coalesce(old.end_snapshot > {since}, true)
    limit 1
"""

_ROWS_WRITTEN = """
    select coalesce(sum(record_count), 0)::bigint
    from __ducklake_metadata_lake.ducklake_data_file
    where table_id = {table_id} and begin_snapshot in ({snapshots})
"""


def snapshots(con: duckdb.DuckDBPyConnection, first: int = 0) -> tuple[Snapshot, ...]:
    """Return the snapshots that have not expired, from this id on, in the order of the commits."""
    rows = con.execute(_SNAPSHOTS.format(first=first)).fetchall()
    return tuple(Snapshot(*row) for row in rows)


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """DuckLake's number and UUID of a table; one that was replaced has others.

    `created` is the snapshot that created it.
    """

    id: int
    uuid: str
    created: int


def table_identity(
    con: duckdb.DuckDBPyConnection, table: TableName, snapshot: int = 1 << 62
) -> TableIdentity | None:
    """Return which table has this name now, or had it at a snapshot; None: there is none."""
    statement = _TABLE_IDENTITY.format(
        schema=quote_text(table.schema), name=quote_text(table.name), at=snapshot
    )
    row = con.execute(statement).fetchone()
    return None if row is None else TableIdentity(*row)


def has_recreated_columns(con: duckdb.DuckDBPyConnection, table_id: int, since: int) -> bool:
    """Whether a column has the name that another one had at a snapshot: it was converted.

    The changes since then show NULL for its earlier values.
    """
    statement = _RECREATED_COLUMNS.format(table_id=table_id, since=since)
    return con.execute(statement).fetchone() is not None


def changed_rows(kind: str, table: TableName, first: int, last: int) -> str:
    """Return SQL of the rows that two snapshots and those between them changed.

    `kind` is "insertions" or "deletions". Both snapshots must not have expired. `snapshot_id` and
    `rowid` are virtual columns of the result.
    """
    names = f"{quote_text(table.schema)}, {quote_text(table.name)}"
    return f"ducklake_table_{kind}('lake', {names}, {first}, {last})"


def rows_written(con: duckdb.DuckDBPyConnection, table_id: int, snapshots: Sequence[int]) -> int:
    """Count the rows of the files that these snapshots added to a table."""
    if not snapshots:
        return 0
    ids = ", ".join(map(str, snapshots))
    row = con.execute(_ROWS_WRITTEN.format(table_id=table_id, snapshots=ids)).fetchone()
    return int(row[0]) if row else 0
