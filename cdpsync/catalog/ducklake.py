"""DuckLake's metadata tables and functions: no other module but `ducklake_changes` has SQL on them.

Every function takes a connection to which `CatalogFile` has attached the lake. Only `data_path`
and `move_data_path` take one to which the catalog file itself is attached, as `meta`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog.snapshots import AUTHOR
from cdpsync.model import TableName
from cdpsync.sql import fold_name, glob_escaped, quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

SYSTEM_SCHEMA = "cdpsync"
"""The schema of the system tables; all other schemas have tables of sources."""


def system_table(name: str) -> TableName:
    """Return the full name of a system table."""
    return TableName(SYSTEM_SCHEMA, name)


# ---- the catalog file, attached as `meta`

_DATA_PATH = "select value from meta.ducklake_metadata where key = 'data_path' and scope is null"

_MOVE_DATA_PATH = """
    update meta.ducklake_data_file set path = {new} || substr(path, length({old}) + 1)
        where not path_is_relative and starts_with(path, {old});
    update meta.ducklake_delete_file set path = {new} || substr(path, length({old}) + 1)
        where not path_is_relative and starts_with(path, {old});
    update meta.ducklake_metadata set value = {new} where key = 'data_path' and scope is null;
"""


def data_path(con: duckdb.DuckDBPyConnection) -> str | None:
    """Return the data path that the catalog has recorded, with a final slash."""
    row = con.execute(_DATA_PATH).fetchone()
    return None if row is None else row[0]


def move_data_path(con: duckdb.DuckDBPyConnection, old: str, new: str) -> None:
    """Replace the recorded data path, also at the start of the full paths of files."""
    con.begin()
    con.execute(_MOVE_DATA_PATH.format(old=quote_text(old), new=quote_text(new)))
    con.commit()


# ---- snapshots

# In the order of the commits: the clock may have been set back between two of them.
_OLDEST_SNAPSHOT = """
    select snapshot_time from __ducklake_metadata_lake.ducklake_snapshot
    order by snapshot_id limit 1
"""

# The catalog's first snapshot is DuckLake's own.
_OTHER_AUTHORS = """
    select 1 from __ducklake_metadata_lake.ducklake_snapshot_changes
    where snapshot_id > 0 and author is distinct from ?
    limit 1
"""


def set_commit_message(con: duckdb.DuckDBPyConnection, message: str) -> None:
    """Set author and message of the snapshot that the open transaction creates."""
    con.execute("call ducklake_set_commit_message('lake', ?, ?)", [AUTHOR, message])


def has_other_authors(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether any snapshot that has not expired has another author than `set_commit_message`."""
    return con.execute(_OTHER_AUTHORS, [AUTHOR]).fetchone() is not None


def oldest_snapshot(con: duckdb.DuckDBPyConnection) -> datetime | None:
    """Return when the oldest snapshot that has not expired was committed."""
    row = con.execute(_OLDEST_SNAPSHOT).fetchone()
    return None if row is None else row[0]


def expire_snapshots(con: duckdb.DuckDBPyConnection, before: datetime, *, dry_run: bool) -> int:
    """Expire the snapshots before a time; return how many."""
    return _call_on_old(con, "ducklake_expire_snapshots", before, dry_run)


def remove_expired_files(con: duckdb.DuckDBPyConnection, before: datetime, *, dry_run: bool) -> int:
    """Remove the files that no snapshot has named since before a time; return how many."""
    return _call_on_old(con, "ducklake_cleanup_old_files", before, dry_run)


def _call_on_old(
    con: duckdb.DuckDBPyConnection, function: str, before: datetime, dry_run: bool
) -> int:
    call = f"call {function}('lake', dry_run => ?, older_than => ?)"
    return len(con.execute(call, [dry_run, before]).fetchall())


# ---- tables

# A column that was converted has another id, and its name since the table exists.
_ADDED_COLUMNS = """
    select s.schema_name, t.table_name, c.column_name
    from __ducklake_metadata_lake.ducklake_column as c
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    where t.end_snapshot is null and s.end_snapshot is null
        and c.parent_column is null and s.schema_name <> ?
    group by all
    having min(c.begin_snapshot) > min(t.begin_snapshot)
        and count(*) filter (c.end_snapshot is null) > 0
"""

# Earlier versions of cdpsync took these for widenings. Files from before them may be unreadable.
_UNSAFE_TYPES = """
    select distinct s.schema_name, t.table_name, c.column_name
    from __ducklake_metadata_lake.ducklake_column as c
    join __ducklake_metadata_lake.ducklake_column as old using (table_id, column_id)
    join __ducklake_metadata_lake.ducklake_data_file as f using (table_id)
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    where (old.column_type, c.column_type) in
            (('varchar', 'json'), ('date', 'timestamptz'), ('timestamp', 'timestamptz'))
        and c.end_snapshot is null and t.end_snapshot is null and s.end_snapshot is null
        and f.end_snapshot is null and f.begin_snapshot < c.begin_snapshot
"""

_FOLDERS = """
    select distinct
        if(t.path_is_relative, if(s.path_is_relative, m.value, '') || s.path, '') || t.path
    from __ducklake_metadata_lake.ducklake_table as t
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    join __ducklake_metadata_lake.ducklake_metadata as m on m.key = 'data_path' and m.scope is null
    where (s.schema_name, t.table_name) in (select unnest(?), unnest(?))
        and s.end_snapshot is null and t.end_snapshot is null
"""

_INLINED_TABLE = """
    select i.table_name
    from __ducklake_metadata_lake.ducklake_inlined_data_tables as i
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    where s.schema_name = ? and t.table_name = ?
        and s.end_snapshot is null and t.end_snapshot is null
    order by i.schema_version desc
    limit 1
"""


def added_columns(con: duckdb.DuckDBPyConnection) -> dict[TableName, frozenset[str]]:
    """Return the columns, in lower case, that were added to tables after their creation."""
    columns: dict[TableName, set[str]] = {}
    for schema, table, column in con.execute(_ADDED_COLUMNS, [SYSTEM_SCHEMA]).fetchall():
        columns.setdefault(TableName(schema, table), set()).add(fold_name(column))
    return {table: frozenset(names) for table, names in columns.items()}


def unsafe_columns(con: duckdb.DuckDBPyConnection) -> dict[TableName, frozenset[str]]:
    """Return the columns that an earlier version gave a type that does not fit their old rows."""
    columns: dict[TableName, set[str]] = {}
    for schema, table, column in con.execute(_UNSAFE_TYPES).fetchall():
        columns.setdefault(TableName(schema, table), set()).add(column)
    return {table: frozenset(names) for table, names in columns.items()}


def table_folders(con: duckdb.DuckDBPyConnection, tables: Sequence[TableName]) -> list[str]:
    """Return the paths and addresses below which DuckLake writes the files of existing tables."""
    if not tables:
        return []
    names = [[table.schema for table in tables], [table.name for table in tables]]
    return [folder for (folder,) in con.execute(_FOLDERS, names).fetchall()]


def inline_system_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Keep the rows of the system tables inside the catalog, so that they need no files.

    It must be committed before the first table of the schema is created.
    """
    con.execute(
        "call lake.set_option('data_inlining_row_limit', 1000000, "
        f"schema => {quote_text(SYSTEM_SCHEMA)})"
    )


def inlined_rows(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    """Count the rows of a table inside the catalog, including deleted ones."""
    inlined = con.execute(_INLINED_TABLE, [table.schema, table.name]).fetchone()
    if inlined is None:
        return 0
    rows = f"select count(*) from __ducklake_metadata_lake.{quote_name(inlined[0])}"
    row = con.execute(rows).fetchone()
    return int(row[0]) if row else 0


# ---- files

_DATA_FILES = """
    select
        if(f.path_is_relative, ? || s.path || t.path || f.path, f.path) as path,
        f.record_count, f.file_size_bytes, coalesce(d.deleted, 0)
    from __ducklake_metadata_lake.ducklake_data_file as f
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    left join (
        select data_file_id, sum(delete_count)::bigint as deleted
        from __ducklake_metadata_lake.ducklake_delete_file
        where end_snapshot is null
        group by all
    ) as d using (data_file_id)
    where s.schema_name = ? and t.table_name = ?
        and s.end_snapshot is null and t.end_snapshot is null and f.end_snapshot is null
    order by f.data_file_id
"""

_TABLES_TO_REWRITE = """
    select s.schema_name, t.table_name
    from __ducklake_metadata_lake.ducklake_table as t
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    join __ducklake_metadata_lake.ducklake_data_file as f using (table_id)
    left join __ducklake_metadata_lake.ducklake_delete_file as d
        on d.data_file_id = f.data_file_id and d.end_snapshot is null
    where s.schema_name <> ?
        and s.end_snapshot is null and t.end_snapshot is null and f.end_snapshot is null
    group by all
    having count(distinct f.data_file_id) > 1 or count(d.data_file_id) > 0
    order by all
"""

_DELETES_FROM_ELSEWHERE = """
    select file_path from read_parquet({file}, hive_partitioning = false)
    except
    select if(f.path_is_relative, ? || s.path || t.path || f.path, f.path)
    from __ducklake_metadata_lake.ducklake_data_file as f
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    limit 1
"""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table: its rows, of which some are `deleted`, and its size."""

    path: str
    rows: int
    bytes: int
    deleted: int


def data_files(con: duckdb.DuckDBPyConnection, table: TableName, root: str) -> tuple[DataFile, ...]:
    """Return the files of a table whose data are below `root`, in the order of their commits."""
    rows = con.execute(_DATA_FILES, [root, table.schema, table.name]).fetchall()
    return tuple(DataFile(*row) for row in rows)


def count_files(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    """Count the files of a table."""
    rows = con.execute(
        "select data_file from ducklake_list_files('lake', ?, schema => ?)",
        [table.name, table.schema],
    ).fetchall()
    return len(rows)


def add_data_files(
    con: duckdb.DuckDBPyConnection,
    table: TableName,
    files: Sequence[str],
    *,
    allow_missing: bool = False,
) -> None:
    """Register Parquet files as rows of a table. With `allow_missing` they may lack columns."""
    con.execute(
        "call ducklake_add_data_files('lake', ?, ?, schema => ?, allow_missing => ?, "
        "hive_partitioning => false)",
        [table.name, [glob_escaped(file) for file in files], table.schema, allow_missing],
    )


def tables_to_rewrite(con: duckdb.DuckDBPyConnection) -> list[TableName]:
    """Return the tables with several files or with deleted rows.

    Other tables have nothing to rewrite or merge, and to check one means to open the catalog.
    """
    rows = con.execute(_TABLES_TO_REWRITE, [SYSTEM_SCHEMA]).fetchall()
    return [TableName(*row) for row in rows]


def rewrite_data_files(
    con: duckdb.DuckDBPyConnection, table: TableName, deleted_share: float
) -> int:
    """Rewrite the files with more than this share of deleted rows; return how many."""
    call = "call ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => ?)"
    rows = con.execute(call, [table.name, table.schema, deleted_share]).fetchall()
    return sum(row[2] for row in rows)


def merge_adjacent_files(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    """Merge small files of consecutive commits; return how many were merged."""
    call = "call ducklake_merge_adjacent_files('lake', ?, schema => ?)"
    rows = con.execute(call, [table.name, table.schema]).fetchall()
    return sum(row[2] for row in rows)


def orphaned_files(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the files below the data path that the catalog does not name, also new ones."""
    rows = con.execute(
        "call ducklake_delete_orphaned_files('lake', dry_run => true, cleanup_all => true)"
    ).fetchall()
    return [path for (path,) in rows]


def deletes_only_from_lake(con: duckdb.DuckDBPyConnection, file: str, root: str) -> bool:
    """Whether this lake has each data file that a file of deleted rows names.

    Raises duckdb.Error for an incomplete file.
    """
    query = _DELETES_FROM_ELSEWHERE.format(file=quote_text(glob_escaped(file)))
    return con.execute(query, [root]).fetchone() is None
