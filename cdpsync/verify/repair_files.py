"""The local files of a repair: the rows that are wrong, and the rows to commit instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog import require_no_shrink, sql_name
from cdpsync.connector import KeyFilter
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.deletes import marked_columns, spooled_keys
from cdpsync.load.merge import same_key
from cdpsync.load.parquet import write
from cdpsync.model import DELETED_AT_COLUMN, Column, Cursor, CursorType, Deletes, SyncMode
from cdpsync.model.cursors import cursor_sql
from cdpsync.model.types import decimal_of
from cdpsync.model.verification import DiffKind
from cdpsync.sql import quote_name, quote_names, quote_text
from cdpsync.system import clock
from cdpsync.verify.compare import WRONG_SQL

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from cdpsync.extract.table import Extracted
    from cdpsync.model import TablePlan
    from cdpsync.model.verification import TableDiff
    from cdpsync.verify.compare import CompareSpec

_MAX_KEYS = 10_000  # of one KeyFilter; for more keys, every row is read
_FILTER_TYPES = {"SMALLINT", "INTEGER", "BIGINT", "UUID", "VARCHAR"}

_BY_KEY = """
    select {columns} from ({incoming}) as incoming
    where exists (
        select 1 from read_parquet({differences}) as differences
        where {is_extra} (differences.kind = 'extra') and {same}
    )
    qualify row_number() over (partition by {key} order by {newest}) = 1
"""

_BY_ROW = """
    select {columns} from ({incoming})
    where {hash} in (select h from read_parquet({differences}))
"""

_ONE_ROW_PER_KEY = """
    select existing.* from {table} as existing
    where exists (select 1 from differences where kind = 'extra' and {same})
    qualify row_number() over (partition by {key}) = 1
"""

_SOFT_DELETES = """
    select {columns} from read_parquet({rows}) as existing
    where not exists (select 1 from ({incoming}) as incoming where {same})
"""

_NOT_INCOMING = """
    select coalesce(sum(n), 0)::bigint from read_parquet({differences}) as differences
    where kind <> 'extra' and not exists (select 1 from ({incoming}) as incoming where {same})
"""


@dataclass(frozen=True, slots=True)
class DiffFiles:
    """The rows of one table that are wrong, in local Parquet files.

    `differences` has k0, k1, …, or h, the number of rows and the kind of each difference.
    `delete_keys` has the `key` of the rows to delete from the lake. `soft_deletes`, with
    `deletes: soft`, has one row per key in `delete_keys`, to be marked. `key_filter` has the keys
    to ask the source for; None: ask for all rows.
    """

    differences: Path
    delete_keys: Path
    key: tuple[str, ...]
    key_filter: KeyFilter | None
    soft_deletes: Path | None = None


@dataclass(frozen=True, slots=True)
class RepairFile:
    """A local Parquet file whose rows a repair commits, and its size in bytes."""

    path: Path
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class RepairFiles:
    """The files of one repair, each None where it would have no rows, and their columns.

    The rows of `upserts` replace those of their keys, the rows of `inserts` are added, and those
    of `soft_deletes` are the lake's own with a mark. `remaining` rows stay wrong, because the
    source no longer has them.
    """

    columns: tuple[Column, ...]
    upserts: RepairFile | None
    inserts: RepairFile | None
    soft_deletes: RepairFile | None
    remaining: int

    @property
    def files(self) -> list[RepairFile]:
        """The files that exist."""
        files = (self.upserts, self.inserts, self.soft_deletes)
        return [file for file in files if file is not None]


def export_diff(
    con: duckdb.DuckDBPyConnection, spec: CompareSpec, diff: TableDiff, folder: Path
) -> DiffFiles:
    """Write the differences that `compare` left in `con`, which has the lake attached, to files.

    Raises ContractError where more than half of the rows would be deleted and the table does not
    allow that.
    """
    plan, extra = spec.plan, diff.counts.get(DiffKind.EXTRA, 0)
    if not plan.allow_shrink:
        require_no_shrink(
            diff.lake.rows,
            diff.lake.rows - extra,
            f"{plan.table}: {extra:,} of its {diff.lake.rows:,} rows are not at the source: more "
            'than half. Nothing was repaired. If that is right, set "allow_shrink: true" for the '
            "table.",
        )
    differences, delete_keys = folder / "differences.parquet", folder / "delete_keys.parquet"
    write(con, f"select * from differences where kind in {WRONG_SQL}", differences)
    if spec.key:
        names = ", ".join(
            f"{alias} as {quote_name(name)}"
            for alias, name in zip(spec.key_aliases, spec.key, strict=True)
        )
        write(con, f"select {names} from differences where kind = 'extra'", delete_keys)
        soft_deletes = None
        if plan.deletes is Deletes.SOFT:
            soft_deletes = _one_row_per_key(con, spec, folder / "deleted_rows.parquet")
        return DiffFiles(differences, delete_keys, spec.key, _key_filter(con, spec), soft_deletes)
    columns = tuple(column.name for column in spec.columns)
    values = ", ".join(
        f"cast({quote_name(column.name)} as {column.type})" for column in spec.columns
    )
    write(
        con,
        f"select distinct {quote_names(columns)} from {sql_name(plan.table)} "
        f"where hash({values}) in (select h from differences where kind in {WRONG_SQL})",
        delete_keys,
    )
    return DiffFiles(differences, delete_keys, columns, None)


def _one_row_per_key(con: duckdb.DuckDBPyConnection, spec: CompareSpec, file: Path) -> Path:
    same = _same_key(spec, "existing")
    table, key = sql_name(spec.plan.table), quote_names(spec.key)
    write(con, _ONE_ROW_PER_KEY.format(table=table, same=same, key=key), file)
    return file


def _key_filter(con: duckdb.DuckDBPyConnection, spec: CompareSpec) -> KeyFilter | None:
    """Return the keys that are wrong; None where a source might read the text of one otherwise."""
    plan = spec.plan
    types = {column.name: column.type for column in spec.columns}
    has_plain_texts = all(
        (types[name] in _FILTER_TYPES or decimal_of(types[name])) and name not in plan.types
        for name in spec.key
    )
    if not has_plain_texts or set(spec.key) != set(plan.stream.primary_key):
        return None
    texts = ", ".join(f"{alias}::varchar" for alias in spec.key_aliases)
    keys = con.execute(
        f"select {texts} from differences where kind in {WRONG_SQL} limit {_MAX_KEYS + 1}"
    ).fetchall()
    if len(keys) > _MAX_KEYS or any(text is None for key in keys for text in key):
        return None
    return KeyFilter(spec.key, tuple(tuple(key) for key in keys))


def write_repair_files(
    spec: CompareSpec, diff_files: DiffFiles, extracted: Extracted, folder: Path, memory: int
) -> RepairFiles:
    """Write the rows to commit to local Parquet files, from the wrong rows that were read again.

    `memory` is in bytes.
    """
    con = engine.connect(threads=1, memory_limit=memory, temp=folder / "spill")
    try:
        upserts = _write_upserts(con, spec, diff_files, extracted, folder / "upserts.parquet")
        inserts = _write_inserts(con, spec, diff_files, extracted, folder / "inserts.parquet")
        soft_deletes = _write_soft_deletes(
            con, spec.plan, diff_files, extracted, folder / "soft_deletes.parquet"
        )
        remaining = _count_remaining(con, spec, diff_files, extracted)
    finally:
        con.close()
    mark_column = (DELETED_AT_COLUMN,) if soft_deletes else ()
    columns = (*extracted.columns, *mark_column)
    return RepairFiles(columns, upserts, inserts, soft_deletes, remaining)


def _write_upserts(
    con: duckdb.DuckDBPyConnection,
    spec: CompareSpec,
    diff_files: DiffFiles,
    extracted: Extracted,
    file: Path,
) -> RepairFile | None:
    """Write the incoming rows whose keys are missing or stale; their keys have one row each."""
    if not extracted.files or not spec.key:
        return None
    return _written(con, _rows_by_key(spec, diff_files, extracted, is_extra="not"), file)


def _write_inserts(
    con: duckdb.DuckDBPyConnection,
    spec: CompareSpec,
    diff_files: DiffFiles,
    extracted: Extracted,
    file: Path,
) -> RepairFile | None:
    """Write the incoming rows that replace no row by its key.

    With a key, these are rows of keys that have several rows in the lake, all of which are deleted.
    """
    if not extracted.files:
        return None
    if spec.key:
        return _written(con, _rows_by_key(spec, diff_files, extracted, is_extra=""), file)
    select = _BY_ROW.format(
        columns=quote_names(column.name for column in extracted.columns),
        incoming=_incoming(extracted),
        hash=_row_hash(spec),
        differences=quote_text(str(diff_files.differences)),
    )
    return _written(con, select, file)


def _rows_by_key(
    spec: CompareSpec, diff_files: DiffFiles, extracted: Extracted, *, is_extra: str
) -> str:
    cursor = spec.plan.cursor_field if spec.plan.mode is SyncMode.INCREMENTAL else None
    return _BY_KEY.format(
        columns=quote_names(column.name for column in extracted.columns),
        incoming=_incoming(extracted),
        differences=quote_text(str(diff_files.differences)),
        is_extra=is_extra,
        same=_same_key(spec, "incoming"),
        key=quote_names(spec.key),
        newest=f"{quote_name(cursor)} desc nulls last" if cursor else "1",
    )


def _write_soft_deletes(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    diff_files: DiffFiles,
    extracted: Extracted,
    file: Path,
) -> RepairFile | None:
    """Write the lake's rows that the source does not have, with a mark."""
    if diff_files.soft_deletes is None:
        return None
    deleted_at = cursor_sql(Cursor(CursorType.TIMESTAMPTZ, clock.now()))
    lake_columns = plan.lake_table.columns if plan.lake_table else ()
    select = _SOFT_DELETES.format(
        columns=marked_columns(plan, extracted.columns, lake_columns, deleted_at),
        rows=quote_text(str(diff_files.soft_deletes)),
        incoming=spooled_keys(plan, [file.path for file in extracted.files]),
        same=same_key(plan),
    )
    return _written(con, select, file)


def _written(con: duckdb.DuckDBPyConnection, select: str, file: Path) -> RepairFile | None:
    rows, size = write(con, select, file)
    return RepairFile(file, rows, size) if rows else None


def _count_remaining(
    con: duckdb.DuckDBPyConnection, spec: CompareSpec, diff_files: DiffFiles, extracted: Extracted
) -> int:
    """Count the missing and stale rows that are not among the incoming ones."""
    row_hash = f"differences.h = {_row_hash(spec)}"
    incoming, same = "select 1", "false"
    if extracted.files:
        incoming = _incoming(extracted)
        same = _same_key(spec, "incoming") if spec.key else row_hash
    select = _NOT_INCOMING.format(
        differences=quote_text(str(diff_files.differences)), incoming=incoming, same=same
    )
    row = con.execute(select).fetchone()
    return int(row[0]) if row else 0


def _incoming(extracted: Extracted) -> str:
    return spooled_rows([file.path for file in extracted.files], extracted.columns)


def _same_key(spec: CompareSpec, alias: str) -> str:
    """Return the condition that a difference and a row under this alias have the same key."""
    return " and ".join(
        f"differences.{k} is not distinct from {alias}.{quote_name(name)}"
        for k, name in zip(spec.key_aliases, spec.key, strict=True)
    )


def _row_hash(spec: CompareSpec) -> str:
    return f"hash({quote_names(column.name for column in spec.columns)})"
