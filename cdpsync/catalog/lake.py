"""An open lake: its tables, its saved state, and the commits that change them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake
from cdpsync.catalog.commit import Commit, counted_result
from cdpsync.catalog.commit_checks import require_no_shrink, require_unique_keys, too_few_rows
from cdpsync.catalog.system_tables import SystemTables
from cdpsync.catalog.transaction import transaction
from cdpsync.engine import first_line
from cdpsync.errors import CatalogError, ContractError
from cdpsync.model import (
    REJECTED_COLUMNS,
    Column,
    LakeTable,
    RunRecord,
    SavedState,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.model.plan import rejected_name
from cdpsync.model.state import ProjectState
from cdpsync.model.types import widens
from cdpsync.sql import fold_name, glob_escaped, plain_number, quote_name, quote_names, quote_text
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

_TABLES_PER_QUERY = 100  # because DuckDB refuses a query of a thousand parts: it is too deep

_COLUMNS = """
    select schema_name, table_name, column_name, data_type, is_nullable
    from duckdb_columns()
    where database_name = 'lake' and schema_name <> 'cdpsync' and not internal
    order by schema_name, table_name, column_index
"""

# DuckLake changes a type in place only to a wider one, and text to JSON, which it need not be.
_CONVERT = """
    alter table {table} add column {new} {type};
    update {table} set {new} = {value};
    alter table {table} drop column {old};
    alter table {table} rename column {new} to {old}
"""


class Lake:
    """An open catalog, through a connection of `CatalogFile`.

    It creates or upgrades its system tables before it writes. Raises CatalogError when a newer
    cdpsync wrote them.
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

    def state(self) -> ProjectState:
        """Return the project's state as the catalog has it now, without the state file."""
        latest, tables = self.system_tables.latest_runs(), self.tables()
        for name, columns in ducklake.unsafe_columns(self.con).items():
            if name in tables:
                tables[name] = replace(tables[name], unsafe_columns=columns)
        if not ducklake.has_other_authors(self.con):  # who may have changed the row counts
            tables = _counted_before(tables, latest)
        return ProjectState(self.system_tables.saved_states(), latest, tables)

    def oldest_snapshot(self) -> datetime | None:
        """Return when the oldest snapshot was committed that can still be queried."""
        return ducklake.oldest_snapshot(self.con)

    def rows(self, table: TableName) -> int:
        """Count the rows of a table."""
        row = self.con.execute(f"select count(*) from {sql_name(table)}").fetchone()
        return int(row[0]) if row else 0

    def record(self, records: Iterable[RunRecord]) -> None:
        """Write runs that changed no table into the history."""
        self.system_tables.prepare()
        with transaction(self.con, "history"):
            self.system_tables.record(*records)

    def save_missing(self, states: Iterable[SavedState]) -> None:
        """Save since when the streams of these states are missing at their sources."""
        self.system_tables.prepare()
        with transaction(self.con, "missing"):
            self.system_tables.save_missing(states)

    def commit(self, *commits: Commit) -> list[TableResult]:
        """Change these tables, their cursors and the history in one transaction, or nothing.

        One transaction for several tables is faster, because DuckLake reads every table's
        definition again when one of them has changed. Raises ContractError when a replacement
        would shrink a table to less than half, CatalogError when the catalog refuses.
        """
        import duckdb

        self.system_tables.prepare()
        names = ", ".join(str(commit.table) for commit in commits)
        try:
            message = f"{commits[0].record.run_id}: {names}"
            with transaction(self.con, message, *(commit.table for commit in commits)):
                results = self._apply(commits)
        except duckdb.Error as error:
            raise _refused(f"{names}: ", error) from error
        return results

    def replace_sample(self, commit: Commit) -> TableResult:
        """Replace a sample's table, and neither save a cursor nor write history.

        Raises CatalogError when the catalog refuses.
        """
        import duckdb

        self.system_tables.prepare()
        try:
            with transaction(self.con, f"sample: {commit.table}", commit.table):
                self.con.execute(
                    f"create schema if not exists lake.{quote_name(commit.table.schema)}"
                )
                replaced, deleted = self._change(commit, self.tables().get(commit.table))
                rows = self.rows(commit.table)
        except duckdb.Error as error:
            raise _refused(f"{commit.table}: ", error) from error
        return counted_result(commit, replaced, deleted, rows)

    def commit_unchanged(self, commits: Sequence[Commit]) -> list[TableResult]:
        """Record in one transaction that these tables were read and have not changed.

        Raises CatalogError when the catalog refuses.
        """
        import duckdb

        self.system_tables.prepare()
        try:
            with transaction(self.con, f"{commits[0].record.run_id}: unchanged"):
                records = [
                    replace(commit.record, result=self._unchanged(commit)) for commit in commits
                ]
                self.system_tables.save(
                    *(commit.saved_state for commit in commits if commit.moves_cursor)
                )
                self.system_tables.record(*records)
        except duckdb.Error as error:
            raise _refused("", error) from error
        return [record.result for record in records]

    def _unchanged(self, commit: Commit) -> TableResult:
        rows = self.rows(commit.table) if commit.rows_before is None else commit.rows_before
        return replace(commit.record.result, rows_in_table=rows)

    def _rows_of(self, tables: Sequence[TableName]) -> dict[TableName, int]:
        rows: list[tuple[int]] = []
        for start in range(0, len(tables), _TABLES_PER_QUERY):
            batch = tables[start : start + _TABLES_PER_QUERY]
            counts = (f"select count(*) from {sql_name(table)}" for table in batch)
            rows += self.con.execute(" union all ".join(counts)).fetchall()
        return {table: int(row[0]) for table, row in zip(tables, rows, strict=True)}

    def _apply(self, commits: Sequence[Commit]) -> list[TableResult]:
        for schema in {commit.table.schema for commit in commits}:
            self.con.execute(f"create schema if not exists lake.{quote_name(schema)}")
        tables = {fold_name(str(name)): table for name, table in self.tables().items()}
        counts = [
            self._change(commit, tables.get(fold_name(str(commit.table)))) for commit in commits
        ]
        for commit in commits:
            self._replace_rejected(commit, tables)
        rows = self._rows_of([commit.table for commit in commits])
        results = [
            counted_result(commit, replaced, deleted, rows[commit.table])
            for commit, (replaced, deleted) in zip(commits, counts, strict=True)
        ]
        self.system_tables.save(*(commit.saved_state for commit in commits))
        self.system_tables.record(
            *(
                replace(commit.record, result=result)
                for commit, result in zip(commits, results, strict=True)
            )
        )
        return results

    def _change(self, commit: Commit, existing: LakeTable | None) -> tuple[int, int]:
        """Change a table; return how many rows were replaced and how many were deleted."""
        replaced = 0
        if commit.replace:
            deleted = self.rows(commit.table) if existing else 0
            if not commit.allow_shrink:
                message = too_few_rows(commit.table, deleted, commit.rows)
                require_no_shrink(deleted, commit.rows, message)
            self._create(commit)
        else:
            if existing:
                self._evolve(existing, commit)
            deleted = self._delete(commit, [commit.delete_keys] if commit.delete_keys else [])
            replaced = self._delete(commit, commit.upsert_files)
            require_unique_keys(commit, replaced)
        if commit.files:
            ducklake.add_data_files(self.con, commit.table, commit.files, allow_missing=True)
        return replaced, deleted

    def _replace_rejected(self, commit: Commit, tables: Mapping[str, LakeTable]) -> None:
        """Replace the table of rejected records; without any, it is not created."""
        if commit.rejected is None:
            return
        name = rejected_name(commit.table)
        existing = tables.get(fold_name(str(name)))
        if existing is None and not commit.rejected:
            return
        if existing is not None and existing.columns != REJECTED_COLUMNS:
            raise ContractError(
                f"{commit.table}: its rejected records would be {name}, which is another table of "
                'the lake. Give that one another "name:".'
            )
        self._create_table(name, REJECTED_COLUMNS)
        if commit.rejected:
            ducklake.add_data_files(self.con, name, commit.rejected, allow_missing=True)

    def _create(self, commit: Commit) -> None:
        self._create_table(commit.table, commit.columns)

    def _create_table(self, table: TableName, columns: Iterable[Column]) -> None:
        definitions = ", ".join(
            f"{quote_name(column.name)} {column.type}{'' if column.nullable else ' not null'}"
            for column in columns
        )
        self.con.execute(f"create or replace table {sql_name(table)} ({definitions})")

    def _evolve(self, existing: LakeTable, commit: Commit) -> None:
        """Add new columns and widen types. The plan has checked that the policy allows both."""
        table = sql_name(existing.name)
        existing_columns = {fold_name(column.name): column for column in existing.columns}
        for column in commit.columns:
            old = existing_columns.get(fold_name(column.name))
            name = quote_name(column.name)
            if old is None:
                self.con.execute(f"alter table {table} add column {name} {column.type}")
            elif old.type != column.type and not widens(old.type, column.type):
                self._convert(commit, old, column)
            elif old.type != column.type:
                self.con.execute(f"alter table {table} alter column {name} type {column.type}")
                self._require_readable(commit, old, column)
        required = {fold_name(column.name) for column in commit.columns if not column.nullable}
        for column in existing.columns:
            if not column.nullable and fold_name(column.name) not in required:
                name = quote_name(column.name)
                self.con.execute(f"alter table {table} alter column {name} drop not null")

    def _convert(self, commit: Commit, old: Column, column: Column) -> None:
        """Rewrite a column in another type. The load has checked that no value changes."""
        old_name = quote_name(old.name)
        value = f"cast({old_name} as {column.type})"
        if column.type == "JSON":
            value = f"to_json({old_name})"
        elif column.type == "VARCHAR":
            value = plain_number(f"cast({old_name} as varchar)")
        self.con.execute(
            _CONVERT.format(
                table=sql_name(commit.table),
                old=old_name,
                new=quote_name(f"{column.name} as {column.type.lower()}"),
                type=column.type,
                value=value,
            )
        )

    def _require_readable(self, commit: Commit, old: Column, column: Column) -> None:
        """Raise ContractError where an old value cannot be read in the new type.

        A DATE may be later than the last TIMESTAMP.
        """
        import duckdb

        if not old.type.startswith("DATE"):
            return
        name, table = quote_name(column.name), sql_name(commit.table)
        try:
            self.con.execute(f"select bit_xor(hash({name})) from {table}").fetchone()
        except duckdb.Error as error:
            raise ContractError(
                f'{commit.table}: column "{column.name}" cannot change from {old.type} to '
                f"{column.type}: {first_line(error)}. Nothing was changed. Load the table again: "
                f"cdpsync run {commit.table} --full-refresh."
            ) from error

    def _delete(self, commit: Commit, files: Sequence[Path]) -> int:
        """Delete the rows whose key is in these files; return how many."""
        if not files:
            return 0
        matches = " and ".join(
            f"existing.{quote_name(name)} is not distinct from incoming.{quote_name(name)}"
            for name in commit.key
        )
        listed = ", ".join(quote_text(glob_escaped(str(file))) for file in files)
        row = self.con.execute(
            f"delete from {sql_name(commit.table)} as existing "
            f"using (select {quote_names(commit.key)} "
            f"from read_parquet([{listed}], hive_partitioning = false)) as incoming where {matches}"
        ).fetchone()
        return int(row[0]) if row else 0

    def drop(self, tables: Iterable[TableName], records: Iterable[RunRecord]) -> None:
        """Drop tables and their saved state, in one transaction.

        The history keeps their earlier runs, and gets the records of the deletion.
        """
        self.system_tables.prepare()
        with transaction(self.con, "delete"):
            for table in tables:
                self.con.execute(f"drop table if exists {sql_name(table)}")
                self.system_tables.forget_table(table)
            self.system_tables.record(*records)


def _counted_before(
    tables: dict[TableName, LakeTable], latest: Sequence[RunRecord]
) -> dict[TableName, LakeTable]:
    """Return the tables with their row counts after their last successful runs."""
    rows = {
        record.result.table: record.result.rows_in_table
        for record in reversed(latest)
        if record.result.status is TableStatus.OK
    }
    return {name: replace(table, rows=rows.get(name)) for name, table in tables.items()}


def _refused(prefix: str, error: duckdb.Error) -> CatalogError:
    message = first_line(error)
    hint = disk.disk_hint(message) or "Run this again"
    return CatalogError(
        f"{prefix}the catalog refused the commit ({message}). {hint}; nothing was changed."
    )


def sql_name(table: TableName) -> str:
    """Return the quoted SQL name of a table of the lake."""
    return f"lake.{quote_name(table.schema)}.{quote_name(table.name)}"
