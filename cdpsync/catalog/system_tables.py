"""The system tables: saved states and run history, as tables in schema `cdpsync` of the lake."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
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
from cdpsync.model.cursors import cursor_digest, cursor_json, parse_cursor
from cdpsync.model.identity import identity_text, parse_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    import duckdb

FORMAT = 5
"""Version of the tables in schema `cdpsync`; a catalog with a higher one is refused."""

# The columns of the tables, with their types. A column of the same name as a field of `SavedState`,
# `RunRecord` or `TableResult` is read and written as that field.
_META_COLUMNS = {"format_version": "integer", "created_at": "timestamptz"}
_CURSOR_COLUMNS = {
    "source": "varchar",
    "stream": "varchar",
    "table_schema": "varchar",
    "table_name": "varchar",
    "mode": "varchar",
    "cursor_field": "varchar",
    "cursor_type": "varchar",
    "cursor_value": "varchar",
    "run_id": "varchar",
    "committed_at": "timestamptz",
    "settings": "varchar",
    "deletes_at": "timestamptz",
    "columns": "varchar",
    "identity": "varchar",
    "missing_since": "timestamptz",
    "source_identity": "varchar",
}
_RUN_COLUMNS = {
    "run_id": "varchar",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "source": "varchar",
    "stream": "varchar",
    "table_name": "varchar",
    "mode": "varchar",
    "status": "varchar",
    "rows_read": "bigint",
    "rows_inserted": "bigint",
    "rows_updated": "bigint",
    "rows_deleted": "bigint",
    "rows_in_table": "bigint",
    "bytes_written": "bigint",
    "cursor_type": "varchar",
    "cursor_before": "varchar",
    "cursor_after": "varchar",
    "seconds": "double",
    "error_type": "varchar",
    "error_message": "varchar",
    "notices": "varchar",
    "kind": "varchar",
}
_STATE_FIELDS = [field.name for field in fields(SavedState) if field.name in _CURSOR_COLUMNS]
_RECORD_FIELDS = [field.name for field in fields(RunRecord) if field.name in _RUN_COLUMNS]
_RESULT_FIELDS = [field.name for field in fields(TableResult) if field.name in _RUN_COLUMNS]

# The statements that upgrade the tables of a version to the next one.
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
    3: "alter table lake.cdpsync.cursors add column missing_since timestamptz",
    4: "alter table lake.cdpsync.cursors add column source_identity varchar",
}
_KIND_SINCE = 3  # the first version whose runs have a kind


HISTORY_KEPT = timedelta(days=90)
"""How long the history keeps runs that changed rows, or failed."""

_MIN_SUPERSEDED = 1_000  # rows of earlier runs; because fewer are not worth a new table

_RECENT_RUNS = """
    from (select rowid as commit_order, * from lake.cdpsync.runs)
    qualify started_at >= if(
            status = 'ok' and rows_inserted + rows_updated + rows_deleted = 0 and notices is null,
            $2::timestamptz, $1::timestamptz)
        or row_number() over (
            partition by source, stream, kind, status order by commit_order desc
        ) = 1
"""

_COUNT_OLD_RUNS = f"""
    select (select count(*) from lake.cdpsync.runs)
        - (select count(*) from (select * {_RECENT_RUNS}))
"""

# In the order of the commits: the clock may have been set back between two of them.
_HISTORY = """
    select * from lake.cdpsync.runs
    order by rowid desc
"""

# The inner query selects row numbers alone, because a history of 2 M records takes 0.15 s then
# instead of 5 s. DuckDB 1.5.5 materializes a common table expression, which takes 0.8 s.
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
    """The system tables of an open lake, through a connection of `CatalogFile`.

    Raises CatalogError when a newer cdpsync wrote them.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._version = self._read_version()

    def prepare(self) -> None:
        """Create the tables, or upgrade them to this version."""
        if self._version == FORMAT:
            return
        with transaction(self.con, "system tables"):
            self.con.execute("create schema if not exists lake.cdpsync")
        ducklake.inline_system_tables(self.con)
        with transaction(self.con, "system tables"):
            if self._version == 0:
                self.con.execute(_create_table("meta", _META_COLUMNS))
                self.con.execute(_create_table("cursors", _CURSOR_COLUMNS))
                self.con.execute(_create_table("runs", _RUN_COLUMNS))
            for version in range(max(self._version, 1), FORMAT if self._version else 0):
                self.con.execute(_UPGRADES[version])
            self.con.execute("insert into lake.cdpsync.meta values (?, now())", [FORMAT])
        self._version = FORMAT

    def _read_version(self) -> int:
        """Return the version of the tables, 0 if there are none."""
        import duckdb

        try:
            row = self.con.execute("select max(format_version) from lake.cdpsync.meta").fetchone()
        except duckdb.CatalogException:
            return 0
        version = row[0] if row and row[0] is not None else 0
        if version > FORMAT:
            raise CatalogError(
                f"the lake's system tables have version {version}, this cdpsync knows version "
                f"{FORMAT}: a newer cdpsync wrote the catalog. Upgrade: pip install -U cdpsync."
            )
        return int(version)

    def prune(self, now: datetime, keep: timedelta, *, dry_run: bool) -> int:
        """Delete superseded cursor rows and expired run records; return how many.

        A run record expires after HISTORY_KEPT, or after `keep` if the run changed nothing. Each
        table's last records stay. DuckLake keeps deleted rows inside the catalog as long as their
        table exists. So the table is created again, and DuckLake removes the old one when its last
        snapshot expires.
        """
        if not self._version or (dry_run and self._version < FORMAT):
            return 0
        self.prepare()
        superseded = ducklake.inlined_rows(self.con, TableName(ducklake.SYSTEM_SCHEMA, "cursors"))
        superseded -= self._count("select count(*) from lake.cdpsync.cursors")
        if superseded < _MIN_SUPERSEDED:
            superseded = 0
        elif not dry_run:
            self._recreate("cursors", "from lake.cdpsync.cursors")
        limits = [now - max(keep, HISTORY_KEPT), now - keep]
        old_runs = self._count(_COUNT_OLD_RUNS, limits)
        if old_runs < _MIN_SUPERSEDED:
            return superseded
        if not dry_run:
            rows = f"select * exclude (commit_order) {_RECENT_RUNS} order by commit_order"
            self._recreate("runs", rows, limits)
        return superseded + old_runs

    def _count(self, sql: str, values: Sequence[object] = ()) -> int:
        row = self.con.execute(sql, values).fetchone()
        return int(row[0]) if row else 0

    def _recreate(self, table: str, rows: str, values: Sequence[object] = ()) -> None:
        with transaction(self.con, "system tables"):
            self.con.execute(f"create or replace table lake.cdpsync.{table} as {rows}", values)

    def saved_states(self) -> tuple[SavedState, ...]:
        """Return each table's state as its last committed run saved it."""
        return tuple(_saved_state(row) for row in self._rows("from lake.cdpsync.cursors"))

    def history(self) -> tuple[RunRecord, ...]:
        """Return the record of every table in every run, newest first."""
        return tuple(_record(row) for row in self._rows(_HISTORY))

    def latest_runs(self) -> tuple[RunRecord, ...]:
        """Return each table's last and last successful record of each kind, newest first.

        Without those that `drop_superseded` leaves out.
        """
        columns = "*" if self._version >= _KIND_SINCE else "*, null as kind"
        rows = self._rows(_LATEST.format(columns=columns))
        return tuple(drop_superseded(_record(row) for row in rows))

    def _rows(self, sql: str) -> Iterable[dict[str, Any]]:  # Any: rows of the database
        if not self._version:
            return []
        result = self.con.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def save(self, *states: SavedState) -> None:
        """Replace the saved states of these streams and tables."""
        if not states:
            return
        marks = ", ".join("(?, ?, ?, ?)" for _ in states)
        keys = [(s.source, s.stream, s.table.schema, s.table.name) for s in states]
        self.con.execute(
            "delete from lake.cdpsync.cursors as old "
            f"using (values {marks}) as new(source, stream, table_schema, table_name) "
            "where (old.source = new.source and old.stream = new.stream) "
            "or (old.table_schema = new.table_schema and old.table_name = new.table_name)",
            [value for key in keys for value in key],
        )
        self._insert("cursors", [_state_row(state) for state in states])

    def save_missing(self, states: Iterable[SavedState]) -> None:
        """Save since when the streams of these states are missing at their sources.

        Their tables are not locked. So a state that a run has replaced meanwhile stays as it is,
        because that run has found the stream.
        """
        for state in states:
            self.con.execute(
                "update lake.cdpsync.cursors set missing_since = ? "
                "where source = ? and stream = ? and run_id is not distinct from ?",
                [state.missing_since, state.source, state.stream, state.run_id],
            )

    def forget_table(self, table: TableName) -> None:
        """Delete the saved state of a table."""
        self.con.execute(
            "delete from lake.cdpsync.cursors where table_schema = ? and table_name = ?",
            [table.schema, table.name],
        )

    def record(self, *records: RunRecord) -> None:
        """Add records to the history."""
        self._insert("runs", [_record_row(record) for record in records])

    def _insert(self, table: str, rows: Sequence[dict[str, object]]) -> None:
        if not rows:
            return
        names = ", ".join(rows[0])
        marks = f"({', '.join('?' for _ in rows[0])})"
        self.con.execute(
            f"insert into lake.cdpsync.{table} ({names}) values {', '.join([marks] * len(rows))}",
            [value for row in rows for value in row.values()],
        )


def _create_table(name: str, columns: Mapping[str, str]) -> str:
    listed = ", ".join(f"{column} {type_}" for column, type_ in columns.items())
    return f"create table if not exists lake.cdpsync.{name} ({listed})"


def drop_superseded(newest_first: Iterable[RunRecord]) -> Iterator[RunRecord]:
    """Leave out the records that a newer one has made meaningless.

    These are a deletion and all before it, a failure to connect to a source that has a newer
    record of any stream, and the failure of a pattern if a newer run has a record of its source.
    """
    deleted: set[tuple[str, str]] = set()
    newer_runs: dict[str, set[str]] = defaultdict(set)
    for record in newest_first:
        source, stream = record.result.source, record.result.stream
        if record.kind is RunKind.DELETE:
            deleted.add((source, stream))
        elif (source, stream) not in deleted and not _is_outdated(record, newer_runs[source]):
            yield record
        newer_runs[source].add(record.run_id)


def _is_outdated(record: RunRecord, newer_runs: AbstractSet[str]) -> bool:
    """Whether a failure that stands for several tables is outdated by newer records."""
    if not record.result.is_placeholder:
        return False
    if record.result.stream == ALL_STREAMS:
        return bool(newer_runs)
    return bool(newer_runs - {record.run_id})


# ---- rows: from values and back


def _state_row(state: SavedState) -> dict[str, object]:
    cursor = state.cursor
    return {name: getattr(state, name) for name in _STATE_FIELDS} | {
        "table_schema": state.table.schema,
        "table_name": state.table.name,
        "cursor_type": cursor and cursor.type.value,
        "cursor_value": _cursor_text(cursor),
        "columns": None if state.columns is None else json.dumps(dict(state.columns)),
        "source_identity": identity_text(state.source_identity),
    }


def _saved_state(row: dict[str, Any]) -> SavedState:  # Any: a row of the database
    values: dict[str, Any] = {name: row.get(name) for name in _STATE_FIELDS}  # v1 lacks some
    values |= {
        "table": TableName(row["table_schema"], row["table_name"]),
        "mode": SyncMode(row["mode"]) if row["mode"] else None,
        "cursor": _cursor(row["cursor_type"], row["cursor_value"]),
        "columns": json.loads(row["columns"]) if row.get("columns") else None,
        "source_identity": parse_identity(row.get("source_identity")),
    }
    return SavedState(**values)


def _record_row(record: RunRecord) -> dict[str, object]:
    result = record.result
    cursor = result.cursor_after or result.cursor_before
    row = {name: getattr(record, name) for name in _RECORD_FIELDS}
    row |= {name: getattr(result, name) for name in _RESULT_FIELDS}
    return row | {
        "table_name": str(result.table),
        "cursor_type": cursor and cursor.type.value,
        "cursor_before": _cursor_text(cursor_digest(result.cursor_before)),
        "cursor_after": _cursor_text(cursor_digest(result.cursor_after)),
        "error_type": result.error and result.error.type,
        "error_message": result.error and result.error.message,
        "notices": json.dumps(result.notices) if result.notices else None,
    }


def _record(row: dict[str, Any]) -> RunRecord:  # Any: a row of the database
    failure = Failure(row["error_type"], row["error_message"]) if row["error_type"] else None
    values = {name: row[name] for name in _RESULT_FIELDS} | {
        "table": TableName.parse(row["table_name"]),
        "mode": SyncMode(row["mode"]) if row["mode"] else None,
        "status": TableStatus(row["status"]),
        "cursor_before": _past_cursor(row["cursor_type"], row["cursor_before"]),
        "cursor_after": _past_cursor(row["cursor_type"], row["cursor_after"]),
        "error": failure,
        "notices": tuple(json.loads(row["notices"])) if row["notices"] else (),
    }
    kind = RunKind(row.get("kind") or RunKind.RUN)
    return RunRecord(
        row["run_id"], row["started_at"], row["finished_at"], TableResult(**values), kind
    )


def _cursor_text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else str(cursor_json(cursor))


def _cursor(type_: str | None, value: str | None) -> Cursor | None:
    return None if type_ is None or value is None else parse_cursor(CursorType(type_), value)


def _past_cursor(type_: str | None, value: str | None) -> Cursor | None:
    """Return a cursor of the history, which has a digest in the place of a state."""
    if type_ == CursorType.STATE and value is not None:
        return Cursor(CursorType.STATE, value)
    return _cursor(type_, value)
