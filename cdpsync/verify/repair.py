"""Rows of the lake that were found in error, read again from the source and committed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog import Commit, Lake, sql_name
from cdpsync.connector import KeyFilter
from cdpsync.errors import CdpsyncError, ContractError
from cdpsync.extract.spool import spooled_rows
from cdpsync.extract.table import extract
from cdpsync.load.deletes import keys_in, marked
from cdpsync.load.merge import same_key, write
from cdpsync.load.upload import SpoolBudget, Uploader
from cdpsync.maintain.publish import publish_after_run
from cdpsync.model import (
    DELETED_AT_COLUMN,
    Cursor,
    CursorType,
    Deletes,
    RunKind,
    RunRecord,
    SavedState,
    SyncMode,
    TablePlan,
    TableResult,
    TableStatus,
)
from cdpsync.model.cursors import cursor_sql
from cdpsync.model.types import decimal_of
from cdpsync.model.verification import DiffKind
from cdpsync.sql import quote_name, quote_names, quote_text
from cdpsync.storage.paths import folder_of
from cdpsync.system import clock
from cdpsync.verify.compare import WRONG_SQL

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from cdpsync.extract.table import Extracted
    from cdpsync.extract.workers import Workers
    from cdpsync.model.verification import TableDiff
    from cdpsync.project.journal import Run
    from cdpsync.sync.session import RunSession
    from cdpsync.verify.compare import CompareSpec

_MEMORY = "2GB"
_AT_ONCE = 10_000  # keys asked for by name; more are found by reading every row
_ADDRESSABLE = {"SMALLINT", "INTEGER", "BIGINT", "UUID", "VARCHAR"}

_BY_KEY = """
    select {columns} from ({arrived}) as arrived
    where exists (
        select 1 from read_parquet({wrong}) as held where {extra} (held.kind = 'extra') and {same}
    )
    qualify row_number() over (partition by {key} order by {newest}) = 1
"""


_ONE_OF_EACH = """
    select held.* from {table} as held
    where exists (select 1 from found where kind = 'extra' and {same})
    qualify row_number() over (partition by {key}) = 1
"""

_GOING = """
    select {columns} from read_parquet({going}) as held
    where not exists (select 1 from ({arrived}) as arrived where {same})
"""


@dataclass(frozen=True, slots=True)
class DiffFiles:
    """What is in error, in local Parquet files.

    `found` has k0, k1, …, or h, and the kind; `leaving` the rows, under the names of their
    columns, that the lake must let go. `going` has, of a table that keeps what is gone at the
    source, a row for each key in `leaving`. `keys` are those to ask the source for, None: ask for
    all.
    """

    found: Path
    leaving: Path
    key: tuple[str, ...]
    keys: KeyFilter | None
    going: Path | None = None


def export_diff(
    con: duckdb.DuckDBPyConnection, how: CompareSpec, found: TableDiff, folder: Path
) -> DiffFiles:
    """Write down what `compare` left in `con`, which has the lake attached.

    Raises ContractError where more than half of the rows would leave and that was not allowed.
    """
    plan, extra = how.plan, found.counts.get(DiffKind.EXTRA, 0)
    if extra * 2 > found.lake.rows and not plan.allow_shrink:
        raise ContractError(
            f"{plan.table}: {extra:,} of its {found.lake.rows:,} rows are not at the source: more "
            'than half. Nothing was repaired. If that is right, set "allow_shrink: true" for the '
            "table."
        )
    file, leaving = folder / "found.parquet", folder / "leaving.parquet"
    write(con, f"select * from found where kind in {WRONG_SQL}", file)
    if how.key:
        names = ", ".join(f"k{n} as {quote_name(name)}" for n, name in enumerate(how.key))
        write(con, f"select {names} from found where kind = 'extra'", leaving)
        going = _one_of_each(con, how, folder) if plan.deletes is Deletes.SOFT else None
        return DiffFiles(file, leaving, how.key, _keys(con, how), going)
    columns = tuple(column.name for column in how.columns)
    hashed = ", ".join(
        f"cast({quote_name(column.name)} as {column.type})" for column in how.columns
    )
    write(
        con,
        f"select distinct {quote_names(columns)} from {sql_name(plan.table)} "
        f"where hash({hashed}) in (select h from found where kind in {WRONG_SQL})",
        leaving,
    )
    return DiffFiles(file, leaving, columns, None)


def _one_of_each(con: duckdb.DuckDBPyConnection, how: CompareSpec, folder: Path) -> Path:
    file = folder / "going.parquet"
    same = (
        f"found.k{n} is not distinct from held.{quote_name(name)}" for n, name in enumerate(how.key)
    )
    select = _ONE_OF_EACH.format(
        table=sql_name(how.plan.table), same=" and ".join(same), key=quote_names(how.key)
    )
    write(con, select, file)
    return file


def _keys(con: duckdb.DuckDBPyConnection, how: CompareSpec) -> KeyFilter | None:
    """Return the keys to ask for, where each has a text that every source reads as itself."""
    plan = how.plan
    types = {column.name: column.type for column in how.columns}
    plain = all(
        (types[name] in _ADDRESSABLE or decimal_of(types[name])) and name not in plan.types
        for name in how.key
    )
    if not plain or set(how.key) != set(plan.stream.primary_key):
        return None
    texts = ", ".join(f"k{n}::varchar" for n in range(len(how.key)))
    rows = con.execute(
        f"select {texts} from found where kind in {WRONG_SQL} limit {_AT_ONCE + 1}"
    ).fetchall()
    if len(rows) > _AT_ONCE or any(text is None for row in rows for text in row):
        return None
    return KeyFilter(how.key, tuple(tuple(row) for row in rows))


@dataclass(slots=True)
class Repairer:
    """Who repairs the tables of one verification; it holds their locks. `finish` at the end."""

    session: RunSession
    workers: Workers
    run: Run
    uploader: Uploader = field(init=False)
    _mended: bool = False

    def __post_init__(self) -> None:
        spool = SpoolBudget(self.session.config.warehouse.spool_max)
        self.uploader = Uploader(self.session.storage, self.run.run_id, spool)

    def repair(self, plan: TablePlan, how: CompareSpec, wrong: DiffFiles, folder: Path) -> int:
        """Read what is in error again and commit it; return how many rows stay in error.

        Those are rows that the source has not any more, since it was compared.
        """
        start = time.monotonic()
        self.run.mark_started()
        self._mended = True
        fresh = folder / "fresh"
        fresh.mkdir()
        reading = replace(how.plan, window=None, deletes=Deletes.IGNORE)
        connector = self.session.connectors[plan.source]
        extracted = extract(reading, connector, self.workers, fresh, row_filter=wrong.keys)
        con = engine.connect(threads=1, memory_limit=_MEMORY, temp=folder / "spill")
        try:
            staged = _staged(con, how, wrong, extracted, folder)
            marks = _marked(con, plan, wrong, extracted, folder)
            left = _left(con, how, wrong, extracted)
        finally:
            con.close()
        delivery = self.uploader.start_table(folder_of(plan.table))
        try:
            for file, _, size in (*staged, *marks):
                delivery.add(file, size, keep=True)
            files = delivery.wait()
        except BaseException:
            delivery.rollback()
            raise
        record = RunRecord(
            self.run.run_id,
            self.run.started_at,
            clock.now(),
            self._result(plan, extracted, start),
            RunKind.REPAIR,
        )
        news = Commit(
            table=plan.table,
            columns=(*extracted.columns, *([DELETED_AT_COLUMN] if marks else [])),
            replace=False,
            files=files,
            rows=sum(rows for _, rows, _ in (*staged, *marks)),
            saved_state=self._entry(plan),
            record=replace(
                record,
                result=replace(
                    record.result, bytes_written=sum(size for *_, size in (*staged, *marks))
                ),
            ),
            key=wrong.key,
            upsert_files=[file for file, *_ in staged if file.name == "replacing.parquet"],
            delete_keys=wrong.leaving,
            soft_deleted=sum(rows for _, rows, _ in marks),
            converts=plan.stream.open_schema,
        )
        try:
            with self.session.catalog.writer() as lake_con:
                lake = Lake(lake_con)
                lake.system_tables.prepare()
                lake.commit(news)
        except CdpsyncError:
            self.uploader.may_have_orphans = True
            raise
        return left

    def finish(self) -> None:
        """Let go of what the repairs needed, and show the lake where it is published."""
        self.uploader.close()
        if self.uploader.may_have_orphans or not self._mended:
            return
        self.run.mark_finished()
        publish_after_run(
            self.session.config, self.session.catalog, self.session.storage, self.run.run_id
        )

    def _result(self, plan: TablePlan, extracted: Extracted, start: float) -> TableResult:
        cursor = self._entry(plan).cursor
        return TableResult(
            plan.source,
            plan.stream.name,
            str(plan.table),
            plan.mode,
            TableStatus.OK,
            rows_read=extracted.rows,
            cursor_before=cursor,
            cursor_after=cursor,
            seconds=round(time.monotonic() - start, 3),
            notices=("repaired by cdpsync verify",),
        )

    def _entry(self, plan: TablePlan) -> SavedState:
        """Return what is remembered of the table, which stays as it is."""
        with self.session.catalog.reader(data=False) as con:
            entries = Lake(con).system_tables.saved_states()
        known = (
            one for one in entries if (one.source, one.stream) == (plan.source, plan.stream.name)
        )
        entry = next(known, None)
        if entry is None:
            raise ContractError(
                f"{plan.table}: nothing is remembered of its last load. Load it anew: cdpsync run "
                f"{plan.table} --full-refresh."
            )
        return entry


def _staged(
    con: duckdb.DuckDBPyConnection,
    how: CompareSpec,
    wrong: DiffFiles,
    extracted: Extracted,
    folder: Path,
) -> list[tuple[Path, int, int]]:
    """Write the rows that must land: file, rows, bytes. Those in `replacing` replace their key."""
    paths = [file.path for file in extracted.files]
    if not paths:
        return []
    arrived = spooled_rows(paths, extracted.columns)
    names = quote_names(column.name for column in extracted.columns)
    found = quote_text(str(wrong.found))
    if not how.key:
        hashed = _hash(how)
        selects = {
            "joining": f"select {names} from ({arrived}) "
            f"where {hashed} in (select h from read_parquet({found}))"
        }
    else:
        same = _same(how)
        field = how.plan.cursor_field if how.plan.mode is SyncMode.INCREMENTAL else None
        said = {
            "columns": names,
            "arrived": arrived,
            "wrong": found,
            "same": same,
            "key": quote_names(how.key),
            "newest": f"{quote_name(field)} desc nulls last" if field else "1",
        }
        selects = {
            "replacing": _BY_KEY.format(extra="not", **said),
            "joining": _BY_KEY.format(extra="", **said),
        }
    staged = []
    for name, select in selects.items():
        file = folder / f"{name}.parquet"
        rows, size = write(con, select, file)
        if rows:
            staged.append((file, rows, size))
    return staged


def _marked(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    wrong: DiffFiles,
    extracted: Extracted,
    folder: Path,
) -> list[tuple[Path, int, int]]:
    """Write the rows that are gone at the source with their mark: file, rows, bytes."""
    if wrong.going is None:
        return []
    moment = cursor_sql(Cursor(CursorType.TIMESTAMPTZ, clock.now()))
    select = _GOING.format(
        columns=marked(
            plan, extracted.columns, plan.lake_table.columns if plan.lake_table else (), moment
        ),
        going=quote_text(str(wrong.going)),
        arrived=keys_in(plan, [file.path for file in extracted.files]),
        same=same_key(plan),
    )
    file = folder / "marked.parquet"
    rows, size = write(con, select, file)
    return [(file, rows, size)] if rows else []


def _left(
    con: duckdb.DuckDBPyConnection, how: CompareSpec, wrong: DiffFiles, extracted: Extracted
) -> int:
    """Count the rows in error that did not come."""
    paths = [file.path for file in extracted.files]
    arrived = spooled_rows(paths, extracted.columns) if paths else ""
    same = _same(how) if how.key else f"held.h = {_hash(how)}"
    come = f"and not exists (select 1 from ({arrived}) as arrived where {same})" if paths else ""
    row = con.execute(
        f"select coalesce(sum(n), 0)::bigint from read_parquet({quote_text(str(wrong.found))}) "
        f"as held where kind <> 'extra' {come}"
    ).fetchone()
    return int(row[0]) if row else 0


def _same(how: CompareSpec) -> str:
    return " and ".join(
        f"held.k{n} is not distinct from arrived.{quote_name(name)}"
        for n, name in enumerate(how.key)
    )


def _hash(how: CompareSpec) -> str:
    return f"hash({quote_names(column.name for column in how.columns)})"
