"""What an open lake tells and takes: its tables and books, and one commit per table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake
from cdpsync.catalog.system_tables import SystemTables
from cdpsync.catalog.transaction import transaction
from cdpsync.engine import first_line
from cdpsync.errors import CatalogError, ContractError
from cdpsync.model import (
    Column,
    LakeTable,
    RunRecord,
    SavedState,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.sql import glob_escaped, quote_name, quote_names, quote_text
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

_AT_ONCE = 100  # tables in one question: DuckDB's grow too deep at a thousand

_COLUMNS = """
    select schema_name, table_name, column_name, data_type, is_nullable
    from duckdb_columns()
    where database_name = 'lake' and schema_name <> 'cdpsync' and not internal
    order by schema_name, table_name, column_index
"""

# No type becomes JSON in place, the text of VARCHAR apart, which need not be JSON.
_CONVERT = """
    alter table {table} add column {new} json;
    update {table} set {new} = to_json({old});
    alter table {table} drop column {old};
    alter table {table} rename column {new} to {old}
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """One table's news, to be made visible at once.

    `files` are in the storage already. With `replace` they become the whole table; otherwise rows
    whose `key` is in `upsert_files` or in `delete_keys` (local Parquet files) are deleted, and the
    files are added. `soft_deleted` of the `rows` only mark rows that were deleted at the source.
    `converts`: a column that arrives as JSON converts the table's column to JSON. `record` is the
    run's record; the commit fills in the counts that only it knows. `rows_before` is how many rows
    the table has, where that is known without counting.
    """

    table: TableName
    columns: tuple[Column, ...]
    replace: bool
    files: Sequence[str]
    rows: int
    saved_state: SavedState
    record: RunRecord
    key: tuple[str, ...] = ()
    upsert_files: Sequence[Path] = ()
    delete_keys: Path | None = None
    soft_deleted: int = 0
    converts: bool = False
    allow_shrink: bool = False
    rows_before: int | None = None

    @property
    def moves_cursor(self) -> bool:
        """Whether the cursor is of this run, and not one that the books have already."""
        return self.saved_state.run_id == self.record.run_id


@dataclass(frozen=True, slots=True)
class LakeState:
    """The state that the lake saves between runs, read at one moment.

    `latest_runs` has each table's last record and its last successful one of a kind, newest first,
    and none from before the table was deleted. The tables have their row counts where the history
    knows them.
    """

    saved_states: tuple[SavedState, ...] = ()
    latest_runs: tuple[RunRecord, ...] = ()
    tables: Mapping[TableName, LakeTable] = field(default_factory=dict)


class Lake:
    """An open catalog, through the connection that `CatalogFile` gave.

    Raises CatalogError when a newer cdpsync keeps its books.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.system_tables = SystemTables(con)

    def tables(self) -> dict[TableName, LakeTable]:
        """Return the tables of the lake with their columns."""
        columns: dict[TableName, list[Column]] = {}
        for schema, table, name, type_, nullable in self.con.execute(_COLUMNS).fetchall():
            columns.setdefault(TableName(schema, table), []).append(Column(name, type_, nullable))
        added = ducklake.added_columns(self.con)
        return {
            name: LakeTable(name, tuple(existing), added_columns=added.get(name, frozenset()))
            for name, existing in columns.items()
        }

    def state(self) -> LakeState:
        """Return all that is remembered, as it is now."""
        latest, tables = self.system_tables.latest_runs(), self.tables()
        if not ducklake.has_other_authors(self.con):  # who may have changed the row counts
            tables = _counted_before(tables, latest)
        return LakeState(self.system_tables.saved_states(), latest, tables)

    def oldest_snapshot(self) -> datetime | None:
        """Return when the oldest state was committed that can still be asked."""
        return ducklake.oldest_snapshot(self.con)

    def rows(self, table: TableName) -> int:
        """Count the rows of a table."""
        row = self.con.execute(f"select count(*) from {sql_name(table)}").fetchone()
        return int(row[0]) if row else 0

    def record(self, records: Iterable[RunRecord]) -> None:
        """Write runs that changed no table into the history."""
        with transaction(self.con, "history"):
            self.system_tables.record(*records)

    def commit(self, *news: Commit) -> list[TableResult]:
        """Make tables' news visible, with cursors and the run's records, or change nothing.

        Several go in one transaction: for each, DuckLake reads every table's definition anew where
        one of them has changed. Raises ContractError when a replacement would shrink a table to
        less than half, CatalogError when the catalog refuses.
        """
        import duckdb

        names = ", ".join(str(one.table) for one in news)
        try:
            message = f"{news[0].record.run_id}: {names}"
            with transaction(self.con, message, *(one.table for one in news)):
                results = self._apply(news)
        except duckdb.Error as error:
            raise _refused(f"{names}: ", error) from error
        return results

    def commit_unchanged(self, news: Sequence[Commit]) -> list[TableResult]:
        """Write of tables that have no news that they were read, all in one transaction.

        Raises CatalogError when the catalog refuses.
        """
        import duckdb

        try:
            with transaction(self.con, f"{news[0].record.run_id}: no news"):
                records = [replace(one.record, result=self._unchanged(one)) for one in news]
                self.system_tables.save(*(one.saved_state for one in news if one.moves_cursor))
                self.system_tables.record(*records)
        except duckdb.Error as error:
            raise _refused("", error) from error
        return [record.result for record in records]

    def _unchanged(self, news: Commit) -> TableResult:
        rows = self.rows(news.table) if news.rows_before is None else news.rows_before
        return replace(news.record.result, rows_in_table=rows)

    def _rows_of(self, tables: Sequence[TableName]) -> dict[TableName, int]:
        rows: list[tuple[int]] = []
        for first in range(0, len(tables), _AT_ONCE):
            some = tables[first : first + _AT_ONCE]
            counts = (f"select count(*) from {sql_name(table)}" for table in some)
            rows += self.con.execute(" union all ".join(counts)).fetchall()
        return {table: int(row[0]) for table, row in zip(tables, rows, strict=True)}

    def _apply(self, news: Sequence[Commit]) -> list[TableResult]:
        for schema in {one.table.schema for one in news}:
            self.con.execute(f"create schema if not exists lake.{quote_name(schema)}")
        tables = self.tables()
        counts = [self._change(one, tables.get(one.table)) for one in news]
        rows = self._rows_of([one.table for one in news])
        results = [
            _counted(one, replaced, deleted, rows[one.table])
            for one, (replaced, deleted) in zip(news, counts, strict=True)
        ]
        self.system_tables.save(*(one.saved_state for one in news))
        self.system_tables.record(
            *(replace(one.record, result=result) for one, result in zip(news, results, strict=True))
        )
        return results

    def _change(self, news: Commit, existing: LakeTable | None) -> tuple[int, int]:
        """Change a table; return how many rows were replaced, and how many left."""
        replaced = 0
        if news.replace:
            deleted = self.rows(news.table) if existing else 0
            if not news.allow_shrink:
                require_no_shrink(news.table, deleted, news.rows)
            self._create(news)
        else:
            if existing:
                self._evolve(existing, news)
            deleted = self._delete(news, [news.delete_keys] if news.delete_keys else [])
            replaced = self._delete(news, news.upsert_files)
            _refuse_several_per_key(news, replaced)
        if news.files:
            ducklake.add_data_files(self.con, news.table, news.files, allow_missing=True)
        return replaced, deleted

    def _create(self, news: Commit) -> None:
        columns = ", ".join(
            f"{quote_name(column.name)} {column.type}{'' if column.nullable else ' not null'}"
            for column in news.columns
        )
        self.con.execute(f"create or replace table {sql_name(news.table)} ({columns})")

    def _evolve(self, existing: LakeTable, news: Commit) -> None:
        """Add the columns the table lacks and widen those that grew; it was checked they may."""
        table = sql_name(existing.name)
        have = {column.name.lower(): column for column in existing.columns}
        for column in news.columns:
            old = have.get(column.name.lower())
            name = quote_name(column.name)
            if old is None:
                self.con.execute(f"alter table {table} add column {name} {column.type}")
            elif old.type != column.type and column.type == "JSON" and news.converts:
                new = quote_name(f"{column.name} as json")
                self.con.execute(_CONVERT.format(table=table, old=quote_name(old.name), new=new))
            elif old.type != column.type:
                self.con.execute(f"alter table {table} alter column {name} type {column.type}")
        arriving = {column.name.lower() for column in news.columns if not column.nullable}
        for column in existing.columns:
            if not column.nullable and column.name.lower() not in arriving:
                name = quote_name(column.name)
                self.con.execute(f"alter table {table} alter column {name} drop not null")

    def _delete(self, news: Commit, files: Sequence[Path]) -> int:
        """Take the rows out whose key stands in these files; return how many."""
        if not files:
            return 0
        matches = " and ".join(
            f"held.{quote_name(name)} is not distinct from arrived.{quote_name(name)}"
            for name in news.key
        )
        listed = ", ".join(quote_text(glob_escaped(str(file))) for file in files)
        row = self.con.execute(
            f"delete from {sql_name(news.table)} as held "
            f"using (select {quote_names(news.key)} "
            f"from read_parquet([{listed}], hive_partitioning = false)) as arrived where {matches}"
        ).fetchone()
        return int(row[0]) if row else 0

    def drop(self, tables: Iterable[TableName], records: Iterable[RunRecord]) -> None:
        """Take tables out of the lake, with what is remembered of them, in one transaction.

        The history keeps what was, and the records of the deletion.
        """
        with transaction(self.con, "delete"):
            for table in tables:
                self.con.execute(f"drop table if exists {sql_name(table)}")
                self.system_tables.forget_table(table)
            self.system_tables.record(*records)


def _counted_before(
    tables: dict[TableName, LakeTable], latest: Sequence[RunRecord]
) -> dict[TableName, LakeTable]:
    """Return the tables with the rows that they had after their last successful run."""
    rows = {
        record.result.table: record.result.rows_in_table
        for record in reversed(latest)
        if record.result.status is TableStatus.OK
    }
    return {name: replace(table, rows=rows.get(str(name))) for name, table in tables.items()}


def _refused(whose: str, error: duckdb.Error) -> CatalogError:
    said = first_line(error)
    advice = disk.disk_hint(said) or "Run this again"
    return CatalogError(
        f"{whose}the catalog refused the commit ({said}). {advice}; nothing was changed."
    )


def sql_name(table: TableName) -> str:
    """Return a table of the lake as SQL."""
    return f"lake.{quote_name(table.schema)}.{quote_name(table.name)}"


def require_no_shrink(table: TableName, before: int, after: int) -> None:
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


def _counted(news: Commit, replaced: int, deleted: int, rows_in_table: int) -> TableResult:
    return replace(
        news.record.result,
        status=TableStatus.OK,
        rows_inserted=news.rows - replaced,
        rows_updated=max(0, replaced - news.soft_deleted),
        rows_deleted=deleted + news.soft_deleted,
        rows_in_table=rows_in_table,
    )
