"""What an open lake tells and takes: its tables, cursors and history, and one commit per table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.cursors import cursor_json, parse_cursor
from cdpsync.engine import first_line, glob_escaped, quote_name, quote_names, quote_text
from cdpsync.errors import CatalogError, ContractError
from cdpsync.model import (
    Column,
    Cursor,
    CursorEntry,
    CursorType,
    Failure,
    LakeTable,
    RunRecord,
    SyncMode,
    TableName,
    TableResult,
    TableStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

FORMAT = 1
"""Version of the tables in schema `cdpsync`; a catalog with a higher one is refused."""

_BOOKS = """
    create schema if not exists lake.cdpsync;
    create table if not exists lake.cdpsync.meta (format_version integer, created_at timestamptz);
    create table if not exists lake.cdpsync.cursors (
        source varchar, stream varchar, table_schema varchar, table_name varchar, mode varchar,
        cursor_field varchar, cursor_type varchar, cursor_value varchar,
        run_id varchar, committed_at timestamptz, settings varchar
    );
    create table if not exists lake.cdpsync.runs (
        run_id varchar, started_at timestamptz, finished_at timestamptz,
        source varchar, stream varchar, table_name varchar, mode varchar, status varchar,
        rows_read bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
        rows_in_table bigint, bytes_written bigint,
        cursor_type varchar, cursor_before varchar, cursor_after varchar, seconds double,
        error_type varchar, error_message varchar, notices varchar
    );
"""

_META = """
    select 1 from duckdb_tables()
    where database_name = 'lake' and schema_name = 'cdpsync' and table_name = 'meta'
"""

_COLUMNS = """
    select schema_name, table_name, column_name, data_type, is_nullable
    from duckdb_columns()
    where database_name = 'lake' and schema_name <> 'cdpsync' and not internal
    order by schema_name, table_name, column_index
"""

_HISTORY = """
    select * from lake.cdpsync.runs
    order by finished_at desc, table_name
"""

_LATEST = """
    select * from lake.cdpsync.runs
    qualify row_number() over (partition by source, stream order by finished_at desc) = 1
        or (status = 'ok' and row_number() over (
            partition by source, stream, status order by finished_at desc) = 1)
    order by finished_at desc, table_name
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """One table's news, to be made visible at once.

    `files` are in the storage already. With `replace` they become the whole table; otherwise
    the rows whose `key` stands in `upserted` (a local Parquet file) leave and the files join.
    `record` is the run's record, in which the counts that only the commit knows are filled.
    """

    table: TableName
    columns: tuple[Column, ...]
    replace: bool
    files: Sequence[str]
    rows: int
    cursor: CursorEntry
    record: RunRecord
    key: tuple[str, ...] = ()
    upserted: Path | None = None
    allow_shrink: bool = False


class Lake:
    """An open catalog, through the connection that `CatalogFile` gave."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._has_books = self._find_books()

    def prepare(self) -> None:
        """Make sure the lake has its books."""
        if not self._has_books:
            self.con.begin()
            self.con.execute(_BOOKS)
            self.con.execute("insert into lake.cdpsync.meta values (?, now())", [FORMAT])
            self.con.commit()
            self._has_books = True

    def _find_books(self) -> bool:
        """Whether there are books already. Raises CatalogError when a newer cdpsync keeps them."""
        if not self.con.execute(_META).fetchone():
            return False
        row = self.con.execute("select max(format_version) from lake.cdpsync.meta").fetchone()
        if row and row[0] is not None and row[0] > FORMAT:
            raise CatalogError(
                f"the lake's books are of version {row[0]}, this cdpsync knows version {FORMAT}: "
                "the catalog was written by a newer cdpsync. Upgrade: pip install -U cdpsync."
            )
        return True

    def tables(self) -> dict[TableName, LakeTable]:
        """Return the tables of the lake with their columns."""
        columns: dict[TableName, list[Column]] = {}
        for schema, table, name, type_, nullable in self.con.execute(_COLUMNS).fetchall():
            columns.setdefault(TableName(schema, table), []).append(Column(name, type_, nullable))
        return {name: LakeTable(name, tuple(found)) for name, found in columns.items()}

    def rows(self, table: TableName) -> int:
        """Count the rows of a table."""
        row = self.con.execute(f"select count(*) from {sql_name(table)}").fetchone()
        return int(row[0]) if row else 0

    def cursors(self) -> tuple[CursorEntry, ...]:
        """Return what the last committed run of each table remembered."""
        if not self._has_books:
            return ()
        rows = self.con.execute("from lake.cdpsync.cursors").fetchall()
        return tuple(_cursor_entry(row) for row in rows)

    def history(self) -> tuple[RunRecord, ...]:
        """Return the record of every table in every run, newest first."""
        return self._records(_HISTORY)

    def latest(self) -> tuple[RunRecord, ...]:
        """Return each table's last record and its last successful one, newest first."""
        return self._records(_LATEST)

    def _records(self, sql: str) -> tuple[RunRecord, ...]:
        if not self._has_books:
            return ()
        result = self.con.execute(sql)
        names = [column[0] for column in result.description or ()]
        return tuple(_record(dict(zip(names, row, strict=True))) for row in result.fetchall())

    def record(self, records: Iterable[RunRecord]) -> None:
        """Write runs that changed no table into the history."""
        self.con.begin()
        try:
            for record in records:
                self._insert_record(record)
            self.con.commit()
        except BaseException:
            self.con.rollback()
            raise

    def commit(self, news: Commit) -> TableResult:
        """Make a table's news visible, with its cursor and the run's record, or change nothing.

        Raises ContractError when a replacement would shrink the table to less than half,
        CatalogError when the catalog refuses.
        """
        import duckdb

        self.con.begin()
        try:
            result = self._apply(news)
            self.con.execute(
                "call ducklake_set_commit_message('lake', 'cdpsync', ?)",
                [f"{news.record.run_id}: {news.table}"],
            )
            self.con.commit()
        except BaseException as error:
            self.con.rollback()
            if isinstance(error, duckdb.Error):
                raise CatalogError(
                    f"{news.table}: the catalog refused the commit ({first_line(error)}). "
                    "Nothing was changed; run this again."
                ) from error
            raise
        return result

    def _apply(self, news: Commit) -> TableResult:
        updated = 0
        self.con.execute(f"create schema if not exists lake.{quote_name(news.table.schema)}")
        existing = self.tables().get(news.table)
        if news.replace:
            before = self.rows(news.table) if existing else 0
            if not news.allow_shrink:
                refuse_shrink(news.table, before, news.rows)
            deleted = before
            self._create(news)
        else:
            deleted = 0
            if existing:
                self._evolve(existing, news.columns)
            if news.upserted:
                updated = self._delete_upserted(news)
                _refuse_several_per_key(news, updated)
        if news.files:
            self.con.execute(
                "call ducklake_add_data_files('lake', ?, ?, schema => ?, allow_missing => true, "
                "hive_partitioning => false)",
                [news.table.name, [glob_escaped(file) for file in news.files], news.table.schema],
            )
        result = _counted(news, updated, deleted, self.rows(news.table))
        self._remember(news.cursor)
        self._insert_record(
            RunRecord(news.record.run_id, news.record.started_at, news.record.finished_at, result)
        )
        return result

    def _create(self, news: Commit) -> None:
        columns = ", ".join(
            f"{quote_name(column.name)} {column.type}{'' if column.nullable else ' not null'}"
            for column in news.columns
        )
        self.con.execute(f"create or replace table {sql_name(news.table)} ({columns})")

    def _evolve(self, existing: LakeTable, wanted: tuple[Column, ...]) -> None:
        """Add the columns the table lacks and widen those that grew; `stage` checked they may."""
        table = sql_name(existing.name)
        have = {column.name.lower(): column for column in existing.columns}
        for column in wanted:
            old = have.get(column.name.lower())
            name = quote_name(column.name)
            if old is None:
                self.con.execute(f"alter table {table} add column {name} {column.type}")
            elif old.type != column.type:
                self.con.execute(f"alter table {table} alter column {name} type {column.type}")
        arriving = {column.name.lower() for column in wanted if not column.nullable}
        for column in existing.columns:
            if not column.nullable and column.name.lower() not in arriving:
                name = quote_name(column.name)
                self.con.execute(f"alter table {table} alter column {name} drop not null")

    def _delete_upserted(self, news: Commit) -> int:
        matches = " and ".join(
            f"held.{quote_name(name)} is not distinct from arrived.{quote_name(name)}"
            for name in news.key
        )
        row = self.con.execute(
            f"delete from {sql_name(news.table)} as held "
            f"using (select {quote_names(news.key)} "
            f"from read_parquet({quote_text(glob_escaped(str(news.upserted)))}, "
            f"hive_partitioning = false)) as arrived where {matches}"
        ).fetchone()
        return int(row[0]) if row else 0

    def _remember(self, entry: CursorEntry) -> None:
        self.con.execute(
            "delete from lake.cdpsync.cursors where (source = ? and stream = ?) "
            "or (table_schema = ? and table_name = ?)",
            [entry.source, entry.stream, entry.table.schema, entry.table.name],
        )
        cursor = entry.cursor
        self.con.execute(
            "insert into lake.cdpsync.cursors values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                entry.source,
                entry.stream,
                entry.table.schema,
                entry.table.name,
                entry.mode,
                entry.cursor_field,
                cursor and cursor.type.value,
                None if cursor is None else str(cursor_json(cursor)),
                entry.run_id,
                entry.committed_at,
                entry.settings,
            ],
        )

    def _insert_record(self, record: RunRecord) -> None:
        import json

        result = record.result
        cursor = result.cursor_after or result.cursor_before
        values = [
            record.run_id,
            record.started_at,
            record.finished_at,
            result.source,
            result.stream,
            result.table,
            result.mode,
            result.status,
            result.rows_read,
            result.rows_inserted,
            result.rows_updated,
            result.rows_deleted,
            result.rows_in_table,
            result.bytes_written,
            cursor and cursor.type.value,
            _cursor_text(result.cursor_before),
            _cursor_text(result.cursor_after),
            result.seconds,
            result.error and result.error.type,
            result.error and result.error.message,
            json.dumps(result.notices) if result.notices else None,
        ]
        marks = ", ".join("?" for _ in values)
        self.con.execute(f"insert into lake.cdpsync.runs values ({marks})", values)

    def drop(self, tables: Iterable[TableName]) -> None:
        """Take tables out of the lake, with what is remembered of them, in one transaction."""
        self.con.begin()
        try:
            for table in tables:
                self.con.execute(f"drop table if exists {sql_name(table)}")
                self.con.execute(
                    "delete from lake.cdpsync.cursors where table_schema = ? and table_name = ?",
                    [table.schema, table.name],
                )
            self.con.commit()
        except BaseException:
            self.con.rollback()
            raise


def sql_name(table: TableName) -> str:
    """Return a table of the lake as SQL."""
    return f"lake.{quote_name(table.schema)}.{quote_name(table.name)}"


def refuse_shrink(table: TableName, before: int, after: int) -> None:
    """Raise ContractError when a table would lose more than half of its rows at once."""
    if before > 0 and after * 2 < before:
        raise ContractError(
            f"{table}: this load has {after:,} rows, the table {before:,}: less than half. The "
            'old rows stay. If that is right, run it with --allow-shrink, or set "allow_shrink: '
            'true" for the table.'
        )


def _refuse_several_per_key(news: Commit, replaced: int) -> None:
    """Raise ContractError when more rows would leave than come: keys that are no keys."""
    if replaced > news.rows:
        raise ContractError(
            f"{news.table}: {news.rows:,} rows would replace {replaced:,}: the primary key "
            f"({', '.join(news.key)}) has several rows in the lake. Nothing was changed. Name the "
            f"right primary_key, and load it anew: cdpsync run {news.table} --full-refresh."
        )


def _counted(news: Commit, updated: int, deleted: int, rows_in_table: int) -> TableResult:
    from dataclasses import replace

    return replace(
        news.record.result,
        status=TableStatus.OK,
        rows_inserted=news.rows - updated,
        rows_updated=updated,
        rows_deleted=deleted,
        rows_in_table=rows_in_table,
    )


def _cursor_text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else str(cursor_json(cursor))


def _cursor(type_: str | None, value: str | None) -> Cursor | None:
    return None if type_ is None or value is None else parse_cursor(CursorType(type_), value)


def _cursor_entry(row: tuple[Any, ...]) -> CursorEntry:  # Any: a row of the database
    source, stream, schema, name, mode, field, type_, value, run_id, committed_at, settings = row
    return CursorEntry(
        source=source,
        stream=stream,
        table=TableName(schema, name),
        mode=SyncMode(mode) if mode else None,
        cursor_field=field,
        cursor=_cursor(type_, value),
        run_id=run_id,
        committed_at=committed_at,
        settings=settings,
    )


def _record(row: dict[str, Any]) -> RunRecord:  # Any: a row of the database
    import json

    failure = Failure(row["error_type"], row["error_message"]) if row["error_type"] else None
    result = TableResult(
        source=row["source"],
        stream=row["stream"],
        table=row["table_name"],
        mode=SyncMode(row["mode"]) if row["mode"] else None,
        status=TableStatus(row["status"]),
        rows_read=row["rows_read"],
        rows_inserted=row["rows_inserted"],
        rows_updated=row["rows_updated"],
        rows_deleted=row["rows_deleted"],
        rows_in_table=row["rows_in_table"],
        bytes_written=row["bytes_written"],
        cursor_before=_cursor(row["cursor_type"], row["cursor_before"]),
        cursor_after=_cursor(row["cursor_type"], row["cursor_after"]),
        seconds=row["seconds"],
        error=failure,
        notices=tuple(json.loads(row["notices"])) if row["notices"] else (),
    )
    started: datetime = row["started_at"]
    return RunRecord(row["run_id"], started, row["finished_at"], result)
