"""Verification of the lake's tables against their sources, and the repair of wrong rows."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.catalog import remove_stale_dirs, sql_name, temp_dir
from cdpsync.engine import first_line, retyped_advice, with_less_memory
from cdpsync.errors import CatalogError, CdpsyncError, ContractError, OpenTypeError, ReadError
from cdpsync.extract.chunk_cache import cache_prune
from cdpsync.extract.chunk_writer import ChunkTransform
from cdpsync.extract.table import extract
from cdpsync.extract.workers import Workers
from cdpsync.load.open_types import with_lake_digits
from cdpsync.model import DELETED_AT, Column, Config, Deletes, Failure, SyncMode, TablePlan
from cdpsync.model.verification import DiffKind, Sample, TableDiff, VerifyResult, VerifyStatus
from cdpsync.project.journal import default_threads, start_run
from cdpsync.project.workspace import load, verified_folder
from cdpsync.sql import fold_name
from cdpsync.sync.selection import RunOptions
from cdpsync.sync.session import RunSession
from cdpsync.system.memory import memory_budget
from cdpsync.verify.compare import CompareSpec, compare, read_whole, slice_of
from cdpsync.verify.repair import Repairer
from cdpsync.verify.repair_files import export_diff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.connector import RowSlice
    from cdpsync.model import TableResult

log = logging.getLogger("cdpsync.verify")


def verify(
    config: Config | str | Path | None,
    select: Sequence[str] = (),
    *,
    sample: Sample | None = None,
    repair: bool = False,
    threads: int | None = None,
    on_result: Callable[[VerifyResult], None] | None = None,
) -> tuple[VerifyResult, ...]:
    """Compare the selected tables of the lake with their sources; return a result for each.

    With `repair`, wrong rows are read again and committed, as by a run; a table on which a run
    works is skipped, with a notice. Raises ConfigError when the project or the selection is wrong,
    LockHeldError when runs work on all the tables that are to be repaired. A table that cannot be
    compared does not stop the others. A table that was read from another source is compared with
    the one that is there now, with a notice, and is not repaired.
    """
    run = start_run(config if isinstance(config, Config) else load(config))
    results: list[VerifyResult] = []

    def report(result: VerifyResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    with (
        closing(run),
        RunSession(run.config, RunOptions(select, accept_source=not repair)) as session,
        ExitStack() as stack,
    ):
        if repair:
            stack.enter_context(session.locked(run.run_id, run.started_at))
        planned = session.plan()
        session.require_unlocked(planned)
        session.release_all_but(plan.table for plan in planned.plans)
        for failed_table in planned.failed:
            report(_result_of(failed_table, VerifyStatus.FAILED))
        for missing_table in planned.skipped:
            if missing_table.mode is not None:  # else it is a pattern that excludes nothing
                report(_missing_result(missing_table))
        for locked_table in planned.locked:
            report(replace(_result_of(locked_table, VerifyStatus.SKIPPED), is_left_out=True))
        if not planned.plans:
            return tuple(results)
        remove_stale_dirs(session.catalog.scratch)
        folder = stack.enter_context(temp_dir(session.catalog.scratch, "verify-"))
        threads = threads or default_threads()
        budget = memory_budget(session.config.warehouse.memory, threads)
        workers = Workers(threads, folder / "spill", budget)
        try:
            repairer = Repairer(session, workers, run) if repair else None
            verifier = _Verifier(session, workers, sample, repairer)
            for number, plan in enumerate(planned.plans):
                report(verifier.verify(plan, folder / f"{number:05d}"))
                session.release([plan.table])
            if repairer is not None:
                repairer.finish()
        except BaseException:
            workers.stop()
            raise
        finally:
            workers.close()
    return tuple(sorted(results, key=lambda result: (result.source, result.table)))


def _result_of(table_result: TableResult, status: VerifyStatus) -> VerifyResult:
    return VerifyResult(
        table_result.source,
        table_result.stream,
        table_result.table,
        table_result.mode,
        status,
        error=table_result.error,
        notices=table_result.notices,
    )


def _missing_result(table_result: TableResult) -> VerifyResult:
    """Return the failure of a table whose source no longer has it: it cannot be compared."""
    (notice,) = table_result.notices
    error = ReadError(f"{table_result.table}: it cannot be compared: {notice}.")
    result = replace(_result_of(table_result, VerifyStatus.FAILED), notices=())
    return replace(result, error=Failure.of(error))


@dataclass(frozen=True, slots=True)
class _Verifier:
    """Verifies tables, one after the other; the chunks of one table are read in parallel."""

    session: RunSession
    workers: Workers
    sample: Sample | None
    repairer: Repairer | None

    def verify(self, plan: TablePlan, folder: Path) -> VerifyResult:
        """Return the result for a table; an error becomes its result, too."""
        import duckdb

        start = time.monotonic()
        result = VerifyResult(
            plan.source,
            plan.stream.name,
            plan.table,
            plan.mode,
            VerifyStatus.SKIPPED,
            cursor_field=plan.cursor_field,
        )
        if plan.lake_table is None:
            notice = f"it was never loaded: cdpsync run {plan.table}"
            return replace(result, notices=(notice,))
        try:
            self._require_same_source(plan)
            result = self._compare(plan, folder, result)
        except CdpsyncError as error:
            result = replace(result, status=VerifyStatus.FAILED, error=Failure.of(error))
        except duckdb.Error as error:
            message = first_line(error)
            advice = retyped_advice(message, plan.table)
            failure = CatalogError(
                f"{plan.table}: it could not be compared ({message}).{advice and f' {advice}.'}"
            )
            result = replace(result, status=VerifyStatus.FAILED, error=Failure.of(failure))
        return replace(result, seconds=round(time.monotonic() - start, 3))

    def _require_same_source(self, plan: TablePlan) -> None:
        """Raise ContractError where a repair would mix the rows of two sources."""
        if self.repairer is not None and plan.source_change:
            raise ContractError(
                f"{plan.table}: {plan.source_change}. Nothing was repaired. Load the table again: "
                f"cdpsync run {plan.table} --full-refresh."
            )

    def _compare(self, plan: TablePlan, folder: Path, result: VerifyResult) -> VerifyResult:
        """Compare the source with the lake as it was just before the source is read."""
        folder.mkdir()
        reading_plan, notices = _reading_plan(plan)
        with self.session.catalog.reader(keep=False) as con:
            row_slice = self._row_slice(con, plan)
            try:
                columns, digest_files = self._source_digests(reading_plan, row_slice, folder)
            except OpenTypeError:
                reading_plan = with_lake_digits(con, reading_plan)
                columns, digest_files = self._source_digests(reading_plan, row_slice, folder)
            spec = _compare_spec(reading_plan, columns, row_slice)
            diff = with_less_memory(
                con, lambda: compare(con, spec, digest_files, sql_name(plan.table))
            )
            diff_files = None
            if diff.wrong and self.repairer is not None:
                diff_files = export_diff(con, spec, diff, folder)
        result = replace(
            result,
            status=VerifyStatus.DIFFERENT if diff.wrong else VerifyStatus.EQUAL,
            compared=diff,
            share=row_slice.parts if row_slice else 1,
            notices=(*notices, *_notices(plan, diff)),
        )
        if diff_files is None or self.repairer is None:
            return result
        remaining = self.repairer.repair(spec, diff_files, folder)
        status = VerifyStatus.DIFFERENT if remaining else VerifyStatus.REPAIRED
        return replace(result, status=status, repaired=diff.wrong - remaining)

    def _row_slice(self, con: duckdb.DuckDBPyConnection, plan: TablePlan) -> RowSlice | None:
        if self.sample is None:
            return None
        row = con.execute(f"select count(*) from {sql_name(plan.table)}").fetchone()
        parts = self.sample.parts(row[0] if row else 0)
        return slice_of(plan, parts, secrets.randbelow(parts))

    def _source_digests(
        self, plan: TablePlan, row_slice: RowSlice | None, folder: Path
    ) -> tuple[tuple[Column, ...], list[Path]]:
        """Read the source's rows, and write their digests to files."""
        cache_folder = None
        if row_slice is None:  # a sample reads another slice each time
            cache_folder = verified_folder(self.session.config, plan.table)

        def to_digests(columns: tuple[Column, ...], rows: str) -> str:
            return _compare_spec(plan, columns, row_slice).source_digests(rows)

        digests = folder / "digests"
        shutil.rmtree(digests, ignore_errors=True)
        digests.mkdir()
        extracted = extract(
            read_whole(plan),
            self.session.connectors[plan.source],
            self.workers,
            digests,
            transform=ChunkTransform(to_digests, cache_folder),
            row_filter=row_slice if row_slice and row_slice.column else None,
        )
        files = [file.path for file in extracted.files]
        if cache_folder is not None:
            cache_prune(cache_folder, files)
        return extracted.columns, files


def _reading_plan(plan: TablePlan) -> tuple[TablePlan, list[str]]:
    """Return the plan that reads in the lake's types, and notices of columns not compared."""
    own_columns = {DELETED_AT} if plan.deletes is Deletes.SOFT else set()
    source_columns = [column for column in plan.columns if column.name not in own_columns]
    lake_names, is_open = _lake_column_names(plan), plan.stream.open_schema
    columns, notices = [], []
    for column in source_columns:
        if is_open or fold_name(column.name) in lake_names:
            columns.append(column)
        else:
            notices.append(f'column "{column.name}" is not in the lake yet, and was not compared')
    if _compares_keys_alone(plan):
        notices.append("only its keys were compared, because a row is appended once")
    elif plan.follows_state:
        notices.append(
            "its source cannot tell which rows are new, so each row that changed there since the "
            "last run counts as a difference"
        )
    return replace(plan, columns=tuple(columns), replace=False, full_refresh=False), notices


def _compare_spec(
    plan: TablePlan, columns: tuple[Column, ...], row_slice: RowSlice | None
) -> CompareSpec:
    """Return how incoming columns are compared with those of the lake."""
    lake_names = _lake_column_names(plan)
    cursor = plan.stream.changes.cursor if plan.stream.changes else None
    log_cursor = cursor.name if cursor else None
    common_columns = [column for column in columns if fold_name(column.name) in lake_names]
    if _compares_keys_alone(plan):
        common_columns = [column for column in common_columns if column.name in plan.primary_key]
    return CompareSpec(
        plan,
        tuple(column for column in common_columns if column.name != log_cursor),
        tuple(column for column in common_columns if column.name == log_cursor),
        row_slice,
    )


def _compares_keys_alone(plan: TablePlan) -> bool:
    """Whether a row that changed at the source is no error, because it is appended once."""
    return plan.follows_state and plan.mode is SyncMode.APPEND_ONLY


def _lake_column_names(plan: TablePlan) -> set[str]:
    return (
        {fold_name(column.name) for column in plan.lake_table.columns} if plan.lake_table else set()
    )


def _notices(plan: TablePlan, diff: TableDiff) -> list[str]:
    """Return a notice for each kind of difference that is not an error, with the reason."""
    notices = [f"another source: {plan.source_change}"] if plan.source_change else []
    deleted, newer = diff.counts.get(DiffKind.GONE, 0), diff.counts.get(DiffKind.NEWER, 0)
    if newer:
        notices.append(f"{newer:,} rows are not synced yet: the next run reads them")
    if deleted and plan.mode is SyncMode.APPEND_ONLY:
        notices.append(f"{deleted:,} rows were changed or deleted at the source, and are kept")
    elif deleted:
        notices.append(
            f"{deleted:,} rows were deleted at the source, and are kept (deletes: ignore)"
        )
    return notices
