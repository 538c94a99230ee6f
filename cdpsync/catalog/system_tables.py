"""The lake's books: the cursor of each table and the history of runs, as tables of the lake."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.catalog import ducklake
from cdpsync.catalog.transaction import transaction
from cdpsync.errors import CatalogError
from cdpsync.model import (
    ALL_STREAMS,
    Cursor,
    CursorType,
    Failure,
    RunKind,
    RunRecord,
    SavedState,
    SyncMode,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.model.cursors import cursor_json, parse_cursor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    import duckdb

FORMAT = 3
"""Version of the tables in schema `cdpsync`; a catalog with a higher one is refused."""

_BOOKS = """
    create table if not exists lake.cdpsync.meta (format_version integer, created_at timestamptz);
    create table if not exists lake.cdpsync.cursors (
        source varchar, stream varchar, table_schema varchar, table_name varchar, mode varchar,
        cursor_field varchar, cursor_type varchar, cursor_value varchar,
        run_id varchar, committed_at timestamptz, settings varchar, deletes_at timestamptz,
        columns varchar, identity varchar
    );
    create table if not exists lake.cdpsync.runs (
        run_id varchar, started_at timestamptz, finished_at timestamptz,
        source varchar, stream varchar, table_name varchar, mode varchar, status varchar,
        rows_read bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
        rows_in_table bigint, bytes_written bigint,
        cursor_type varchar, cursor_before varchar, cursor_after varchar, seconds double,
        error_type varchar, error_message varchar, notices varchar, kind varchar
    );
"""

# What brings the books of an older version up to the next one.
_UPGRADES = {
    1: """
        alter table lake.cdpsync.cursors add column deletes_at timestamptz;
        alter table lake.cdpsync.cursors add column columns varchar;
        alter table lake.cdpsync.cursors add column identity varchar;
    """,
    2: """
        alter table lake.cdpsync.runs add column kind varchar;
        update lake.cdpsync.runs set kind = 'repair'
            where contains(notices, 'repaired by cdpsync verify');
    """,
}

HISTORY_KEPT = timedelta(days=90)
"""How long runs stay in the history that brought something, or failed."""

_MANY_PAST = 1_000  # entries of earlier runs; fewer are not worth a new table

_KEPT = """
    from (select rowid as place, * from lake.cdpsync.runs)
    qualify started_at >= if(
            status = 'ok' and rows_inserted + rows_updated + rows_deleted = 0 and notices is null,
            $2::timestamptz, $1::timestamptz)
        or row_number() over (partition by source, stream, kind, status order by place desc) = 1
"""

_PAST_RUNS = f"""
    select (select count(*) from lake.cdpsync.runs) - (select count(*) from (select * {_KEPT}))
"""

# In the order of the commits: the clock may have been set back between two of them.
_HISTORY = """
    select * from lake.cdpsync.runs
    order by rowid desc
"""

# By their numbers alone first: a history of 2 M records takes 0.15 s so, not 5 s; as one common
# table expression it is written out in full, which takes 0.8 s (DuckDB 1.5.5).
_LATEST = """
    select {columns} from lake.cdpsync.runs
    where rowid in (
        select unnest([max(rowid), max(rowid) filter (status = 'ok')])
        from (select rowid, {columns} from lake.cdpsync.runs)
        group by source, stream, kind
    )
    order by rowid desc
"""


class SystemTables:
    """The books of an open lake, through the connection that `CatalogFile` gave.

    Raises CatalogError when a newer cdpsync keeps them.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._version = self._find()

    def prepare(self) -> None:
        """Make sure that there are books, and of this version."""
        if self._version == FORMAT:
            return
        with transaction(self.con, "books"):
            self.con.execute("create schema if not exists lake.cdpsync")
        ducklake.inline_system_tables(self.con)
        with transaction(self.con, "books"):
            if self._version == 0:
                self.con.execute(_BOOKS)
            for version in range(max(self._version, 1), FORMAT if self._version else 0):
                self.con.execute(_UPGRADES[version])
            self.con.execute("insert into lake.cdpsync.meta values (?, now())", [FORMAT])
        self._version = FORMAT

    def _find(self) -> int:
        """Return the books' version, 0 where there are none."""
        import duckdb

        try:
            row = self.con.execute("select max(format_version) from lake.cdpsync.meta").fetchone()
        except duckdb.CatalogException:
            return 0
        version = row[0] if row and row[0] is not None else 0
        if version > FORMAT:
            raise CatalogError(
                f"the lake's books are of version {version}, this cdpsync knows version {FORMAT}: "
                "the catalog was written by a newer cdpsync. Upgrade: pip install -U cdpsync."
            )
        return int(version)

    def prune(self, now: datetime, keep: timedelta, *, dry_run: bool) -> int:
        """Let go of what is past: how many entries that are.

        That is what the cursors were in earlier runs; runs longer ago than HISTORY_KEPT; and those
        longer ago than `keep` that found nothing new. Each table's last ones stay. DuckLake keeps
        entries inside the catalog for as long as their table lives, deleted or not. So the table is
        made anew, and the old one goes when its last snapshot expires.
        """
        if not self._version:
            return 0
        past = ducklake.inlined_rows(self.con, TableName(ducklake.SYSTEM_SCHEMA, "cursors"))
        past -= self._count("select count(*) from lake.cdpsync.cursors")
        if past < _MANY_PAST:
            past = 0
        elif not dry_run:
            self._renew("cursors", "from lake.cdpsync.cursors")
        keeping = [now - max(keep, HISTORY_KEPT), now - keep]
        old = self._count(_PAST_RUNS, keeping)
        if old < _MANY_PAST:
            return past
        if not dry_run:
            self._renew("runs", f"select * exclude (place) {_KEPT} order by place", keeping)
        return past + old

    def _count(self, sql: str, values: Sequence[object] = ()) -> int:
        row = self.con.execute(sql, values).fetchone()
        return int(row[0]) if row else 0

    def _renew(self, book: str, rows: str, values: Sequence[object] = ()) -> None:
        with transaction(self.con, "books"):
            self.con.execute(f"create or replace table lake.cdpsync.{book} as {rows}", values)

    def saved_states(self) -> tuple[SavedState, ...]:
        """Return what the last committed run of each table remembered."""
        return tuple(_cursor_entry(row) for row in self._rows("from lake.cdpsync.cursors"))

    def history(self) -> tuple[RunRecord, ...]:
        """Return the record of every table in every run, newest first."""
        return tuple(_record(row) for row in self._rows(_HISTORY))

    def latest_runs(self) -> tuple[RunRecord, ...]:
        """Return each table's last record and its last successful one of a kind, newest first.

        What is older than a table's deletion is left out, and so are the deletion, and a failure to
        ask a source of which anything newer is known.
        """
        columns = "*" if self._version >= FORMAT else "*, null as kind"
        rows = self._rows(_LATEST.format(columns=columns))
        return tuple(_standing(_record(row) for row in rows))

    def _rows(self, sql: str) -> Iterable[dict[str, Any]]:  # Any: rows of the database
        if not self._version:
            return []
        result = self.con.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def save(self, *entries: SavedState) -> None:
        """Write where tables' cursors stand, in place of what was known of them."""
        if not entries:
            return
        marks = ", ".join("(?, ?, ?, ?)" for _ in entries)
        keys = [(e.source, e.stream, e.table.schema, e.table.name) for e in entries]
        self.con.execute(
            "delete from lake.cdpsync.cursors as old "
            f"using (values {marks}) as new(source, stream, table_schema, table_name) "
            "where (old.source = new.source and old.stream = new.stream) "
            "or (old.table_schema = new.table_schema and old.table_name = new.table_name)",
            [value for key in keys for value in key],
        )
        self._insert("cursors", [_cursor_row(entry) for entry in entries])

    def forget_table(self, table: TableName) -> None:
        """Write that nothing is known of a table."""
        self.con.execute(
            "delete from lake.cdpsync.cursors where table_schema = ? and table_name = ?",
            [table.schema, table.name],
        )

    def record(self, *records: RunRecord) -> None:
        """Write tables of a run into the history."""
        self._insert("runs", [_record_row(record) for record in records])

    def _insert(self, book: str, rows: Sequence[dict[str, object]]) -> None:
        if not rows:
            return
        names = ", ".join(rows[0])
        marks = f"({', '.join('?' for _ in rows[0])})"
        self.con.execute(
            f"insert into lake.cdpsync.{book} ({names}) values {', '.join([marks] * len(rows))}",
            [value for row in rows for value in row.values()],
        )


def _standing(newest_first: Iterable[RunRecord]) -> Iterator[RunRecord]:
    deleted, told = set(), set()
    for record in newest_first:
        source, stream = record.result.source, record.result.stream
        if record.kind is RunKind.DELETE:
            deleted.add((source, stream))
        elif (source, stream) not in deleted and not (stream == ALL_STREAMS and source in told):
            yield record
        told.add(source)


def _cursor_row(entry: SavedState) -> dict[str, object]:
    cursor = entry.cursor
    return {
        "source": entry.source,
        "stream": entry.stream,
        "table_schema": entry.table.schema,
        "table_name": entry.table.name,
        "mode": entry.mode,
        "cursor_field": entry.cursor_field,
        "cursor_type": cursor and cursor.type.value,
        "cursor_value": _cursor_text(cursor),
        "run_id": entry.run_id,
        "committed_at": entry.committed_at,
        "settings": entry.settings,
        "deletes_at": entry.deletes_at,
        "columns": None if entry.columns is None else json.dumps(dict(entry.columns)),
        "identity": entry.identity,
    }


def _record_row(record: RunRecord) -> dict[str, object]:
    result = record.result
    cursor = result.cursor_after or result.cursor_before
    return {
        "run_id": record.run_id,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "source": result.source,
        "stream": result.stream,
        "table_name": result.table,
        "mode": result.mode,
        "status": result.status,
        "rows_read": result.rows_read,
        "rows_inserted": result.rows_inserted,
        "rows_updated": result.rows_updated,
        "rows_deleted": result.rows_deleted,
        "rows_in_table": result.rows_in_table,
        "bytes_written": result.bytes_written,
        "cursor_type": cursor and cursor.type.value,
        "cursor_before": _cursor_text(result.cursor_before),
        "cursor_after": _cursor_text(result.cursor_after),
        "seconds": result.seconds,
        "error_type": result.error and result.error.type,
        "error_message": result.error and result.error.message,
        "notices": json.dumps(result.notices) if result.notices else None,
        "kind": record.kind,
    }


def _cursor_text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else str(cursor_json(cursor))


def _cursor(type_: str | None, value: str | None) -> Cursor | None:
    return None if type_ is None or value is None else parse_cursor(CursorType(type_), value)


def _cursor_entry(row: dict[str, Any]) -> SavedState:  # Any: a row of the database
    return SavedState(
        source=row["source"],
        stream=row["stream"],
        table=TableName(row["table_schema"], row["table_name"]),
        mode=SyncMode(row["mode"]) if row["mode"] else None,
        cursor_field=row["cursor_field"],
        cursor=_cursor(row["cursor_type"], row["cursor_value"]),
        run_id=row["run_id"],
        committed_at=row["committed_at"],
        settings=row["settings"],
        deletes_at=row.get("deletes_at"),
        columns=json.loads(row["columns"]) if row.get("columns") else None,
        identity=row.get("identity"),
    )


def _record(row: dict[str, Any]) -> RunRecord:  # Any: a row of the database
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
    kind = RunKind(row.get("kind") or RunKind.RUN)
    return RunRecord(row["run_id"], started, row["finished_at"], result, kind)
