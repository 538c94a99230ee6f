"""Loads one table into the storage: extract, merge, deletes, upload."""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.connector.returned import opened_read
from cdpsync.errors import OpenTypeError
from cdpsync.extract.table import Extracted, ExtractHooks, extract
from cdpsync.load.comparison import is_small, translated_errors
from cdpsync.load.continuity import (
    has_other_row_at_cursor,
    may_be_beyond,
    replaces_lake,
    restarted,
    window_of,
    with_other_row_notice,
)
from cdpsync.load.deferred_files import DeferredFiles
from cdpsync.load.deletes import keep_deleted, merge_deletes
from cdpsync.load.merge import MergeResult, keeps_deleted, merge, needs_no_merge
from cdpsync.load.open_types import with_lake_digits
from cdpsync.load.reload import compare_reload
from cdpsync.model import Deletes, Progress
from cdpsync.model.plan import rejected_name
from cdpsync.storage.paths import folder_of
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.extract.request import OpenRead
    from cdpsync.extract.workers import Workers
    from cdpsync.load.upload import TableUpload, Uploader
    from cdpsync.model import Column, TablePlan

    ProgressCallback = Callable[[Progress], None]

log = logging.getLogger("cdpsync.load.table")


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table whose files are in the storage and wait for their commit.

    `rejected_files` have the records that were set aside.
    """

    plan: TablePlan
    extracted: Extracted
    merged: MergeResult
    files: tuple[str, ...]
    started_at: datetime
    monotonic_start: float
    rejected_files: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long ago its load started."""
        return round(time.monotonic() - self.monotonic_start, 3)


@dataclass(frozen=True, slots=True)
class TableLoader:
    """Loads the tables of one run into the storage. Used from a thread per table.

    `open_lake` lends a DuckDB connection that has a copy of the lake attached. `opener` returns
    what opens the reads of a table.
    """

    connectors: Mapping[str, Connector]
    open_lake: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
    uploader: Uploader
    workers: Workers
    spool: Path
    stopped: threading.Event
    on_progress: ProgressCallback
    opener: Callable[[TablePlan], OpenRead] = lambda _: opened_read
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _merge_lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, plan: TablePlan) -> LoadedTable | None:
        """Load a table into the storage; return None when the run was stopped before."""
        if self.stopped.is_set():
            return None
        started_at, start = clock.now(), time.monotonic()
        folder = self.spool / f"{next(self._numbers):05d}"
        folder.mkdir()
        self.on_progress(progress_of(plan, "reading"))
        upload = self.uploader.start_table(folder_of(plan.table))
        deferred = DeferredFiles(upload)
        try:
            plan, extracted = self._extract_guessed(plan, folder, deferred)
            plan, extracted = self._continued(plan, extracted, folder, deferred)
            key_files = self._extract_keys(plan, folder, extracted.columns)
            self.on_progress(progress_of(plan, "landing", rows=extracted.rows))
            if plan.compares_rows:
                plan, merged = self._merge_reload(plan, extracted, folder, deferred)
            elif needs_no_merge(plan):  # the files were queued for upload while they were read
                merged = _all_rows(extracted)
            else:
                plan, merged = self._merge(plan, extracted, key_files, folder)
                if keeps_deleted(plan):
                    plan, merged = self._keep_deleted(plan, merged, folder)
                _upload(upload, merged)
            files = upload.wait()
            rejected_files = self._upload_rejected(plan, extracted)
        except BaseException:
            deferred.close()
            upload.rollback()
            raise
        if not merged.upsert_files and merged.delete_keys is None:
            shutil.rmtree(folder, ignore_errors=True)
        return LoadedTable(plan, extracted, merged, files, started_at, start, rejected_files)

    def _upload_rejected(self, plan: TablePlan, extracted: Extracted) -> tuple[str, ...]:
        """Upload the records that were set aside; a sample has none."""
        rejected = extracted.rejected
        if rejected is None or not rejected.rows or plan.limit is not None:
            return ()
        upload = self.uploader.start_table(folder_of(rejected_name(plan.table)))
        try:
            upload.add(rejected.path, rejected.bytes)
            return upload.wait()
        except BaseException:
            upload.rollback()
            raise

    def _extract_guessed(
        self, plan: TablePlan, folder: Path, deferred: DeferredFiles
    ) -> tuple[TablePlan, Extracted]:
        """Read a table; again with wider types, if a value does not fit those of earlier rows."""
        try:
            return plan, self._extract(plan, folder, deferred)
        except OpenTypeError:
            if plan.replace:
                raise
        with self._lake(plan) as con:
            plan = with_lake_digits(con, plan)
        for file in folder.glob("*.parquet"):
            file.unlink()
        return plan, self._extract(plan, folder, deferred)

    def _extract(self, plan: TablePlan, folder: Path, deferred: DeferredFiles) -> Extracted:
        """Read a table into the spool.

        Files that need neither a merge nor a comparison are queued for upload at once.
        """

        def on_progress(rows: int, chunks_done: int, chunks: int) -> None:
            self.on_progress(
                progress_of(plan, "reading", rows=rows, chunks_done=chunks_done, chunks=chunks)
            )

        hooks = ExtractHooks(
            on_progress,
            wait_for_space=self.uploader.wait_for_space,
            open_read=self.opener(plan),
        )
        if plan.compares_rows:
            hooks = replace(hooks, on_file=deferred.add, on_drop=deferred.drop)
        elif needs_no_merge(plan):
            hooks = replace(
                hooks,
                on_file=lambda file: deferred.upload.add(file.path, file.bytes),
                on_drop=lambda file: deferred.upload.cancel(file.path),
            )
        return extract(plan, self.connectors[plan.source], self.workers, folder, hooks=hooks)

    def _merge(
        self, plan: TablePlan, extracted: Extracted, key_files: Sequence[Path], folder: Path
    ) -> tuple[TablePlan, MergeResult]:
        """Return the rows to load, given those that the lake has and the keys of the source.

        The plan that is returned has a notice if the row at the cursor is another one than before.
        """
        paths = tuple(file.path for file in extracted.files)
        with self._merge_connection(plan, extracted, folder) as con:
            merged = merge(con, plan, paths, extracted.columns, folder)
            if plan.compares_keys:
                merged = _merge_deletes(con, plan, merged, key_files, folder)
            if has_other_row_at_cursor(con, plan, extracted, merged):
                plan = with_other_row_notice(plan)
        return plan, merged

    def _keep_deleted(
        self, plan: TablePlan, merged: MergeResult, folder: Path
    ) -> tuple[TablePlan, MergeResult]:
        """Return the rows of a reload with those that the lake has and the source no longer.

        A full refresh mends a table whose files are lost, so it goes on without them, and tells it.
        """
        import duckdb

        now = clock.now()
        with translated_errors(plan, folder):
            try:
                with self._lake(plan) as con:
                    return plan, engine.with_less_memory(
                        con, lambda: keep_deleted(con, plan, merged, folder, now)
                    )
            except duckdb.IOException as error:
                if not plan.full_refresh:
                    raise
                notice = (
                    "rows that were deleted at the source are not kept, because the lake's files "
                    f"cannot be read ({engine.first_line(error)})"
                )
        return replace(plan, notices=(*plan.notices, notice)), merged

    def _merge_reload(
        self, plan: TablePlan, extracted: Extracted, folder: Path, deferred: DeferredFiles
    ) -> tuple[TablePlan, MergeResult]:
        """Upload what differs between the rows read and the lake's table.

        The plan that is returned replaces the table only if all of its rows are uploaded.
        """
        merged = self._compare(plan, extracted, folder, has_files=deferred.is_complete)
        if merged is None:
            deferred.queue()
            return plan, _all_rows(extracted)
        deferred.discard()
        _upload(deferred.upload, merged)
        return replace(plan, replace=False), merged

    def _compare(
        self, plan: TablePlan, extracted: Extracted, folder: Path, *, has_files: bool
    ) -> MergeResult | None:
        """Return the difference to the lake's table; None: replace it.

        A table whose files cannot be read is replaced, too, because that mends it.
        """
        import duckdb

        try:
            with self._lake(plan, extracted) as con:
                return compare_reload(con, plan, extracted, folder, has_files=has_files)
        except duckdb.Error as error:
            message = engine.first_line(error)
            log.warning("%s: could not be compared (%s) and is replaced.", plan.table, message)
            return None

    def _continued(
        self, plan: TablePlan, extracted: Extracted, folder: Path, deferred: DeferredFiles
    ) -> tuple[TablePlan, Extracted]:
        """Return the plan and the rows to merge, read from the start if the table began anew."""
        if plan.is_rebuilt:
            return self._as_other_table(plan, extracted, folder, deferred)
        if not may_be_beyond(plan, extracted):
            return plan, extracted
        with self._merge_connection(plan, extracted, folder) as con:
            restart = restarted(con, plan)
        if restart is None:
            return plan, extracted
        new_folder = folder / "restarted"
        new_folder.mkdir()
        restart, all_rows = self._extract_guessed(restart, new_folder, deferred)
        if all_rows.highest_cursor is None:  # no row to go on from: the cursor stays
            return plan, extracted
        with self._merge_connection(plan, all_rows, folder) as con:
            window = window_of(con, restart, all_rows)
        if all_rows.cursor is None:  # transactions are open: all these rows are read again
            all_rows = replace(all_rows, cursor=window.low if window else plan.cursor_before)
        return replace(restart, window=window, cursor_before=plan.cursor_before), all_rows

    def _as_other_table(
        self, plan: TablePlan, extracted: Extracted, folder: Path, deferred: DeferredFiles
    ) -> tuple[TablePlan, Extracted]:
        """Return the plan of a table that may be another one, after its rows have been read."""
        if extracted.cursor is None and plan.saved_state is not None:
            # It is empty, or transactions are open: the next run reads it from its start again.
            saved = plan.saved_state
            extracted = replace(extracted, cursor=saved.cursor)
            stream = replace(plan.stream, identity=saved.identity, rewrite=None)
            plan = replace(plan, stream=stream)
        with self._merge_connection(plan, extracted, folder) as con:
            if not replaces_lake(con, plan, extracted):
                if extracted.highest_cursor is not None:
                    plan = replace(plan, window=window_of(con, plan, extracted))
                return plan, extracted
        plan = replace(plan, replace=True, compares_keys=False)
        if needs_no_merge(plan):
            for file in extracted.files:
                deferred.upload.add(file.path, file.bytes)
        return plan, extracted

    def _extract_keys(
        self, plan: TablePlan, folder: Path, columns: Sequence[Column]
    ) -> tuple[Path, ...]:
        """Read every key that the source has, if the plan asks for it; return the spool files.

        `columns` are those of the rows, whose types the keys have too. They are read after the
        rows, because a row whose key is missing then has been deleted.
        """
        if not plan.compares_keys:
            return ()
        key_folder = folder / "keys"
        key_folder.mkdir()
        names = set(plan.primary_key)
        only_keys = replace(
            plan,
            columns=tuple(column for column in plan.columns if column.name in names),
            lake_table=plan.lake_table and replace(plan.lake_table, columns=tuple(columns)),
            lake_digits=None,
            deletes=Deletes.IGNORE,
            cursor_field=None,
            cursor_type=None,
            cursor_before=None,
            window=None,
        )
        with translated_errors(plan, folder):
            extracted = extract(only_keys, self.connectors[plan.source], self.workers, key_folder)
        return tuple(file.path for file in extracted.files)

    @contextmanager
    def _merge_connection(
        self, plan: TablePlan, extracted: Extracted, folder: Path
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a DuckDB connection; it has the lake attached if the plan adds to a table."""
        with translated_errors(plan, folder):
            if not plan.replace:
                with self._lake(plan, extracted) as con:
                    yield con
                return
            with self._merge_lock:
                memory = self.workers.budget.merge
                con = engine.connect(threads=1, memory_limit=memory, temp=folder / "spill")
                try:
                    yield con
                finally:
                    con.close()

    @contextmanager
    def _lake(
        self, plan: TablePlan, extracted: Extracted | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection to the lake; it uses all threads if the table is large."""
        with self.open_lake() as con:
            if not is_small(plan, extracted):
                con.execute(engine.ALL_THREADS)
            yield con


def _all_rows(extracted: Extracted) -> MergeResult:
    """Return every file that was read."""
    paths = tuple(file.path for file in extracted.files)
    size = sum(file.bytes for file in extracted.files)
    return MergeResult(extracted.columns, paths, extracted.rows, size)


def _upload(upload: TableUpload, merged: MergeResult) -> None:
    """Queue the upload of merged files; those with keys stay for the commit."""
    for file in merged.files:
        upload.add(file, file.stat().st_size, keep=file in merged.upsert_files)


def _merge_deletes(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    merged: MergeResult,
    key_files: Sequence[Path],
    folder: Path,
) -> MergeResult:
    now = clock.now()
    return engine.with_less_memory(
        con, lambda: merge_deletes(con, plan, merged, key_files, folder, now)
    )


def progress_of(
    plan: TablePlan, step: str, *, rows: int = 0, chunks_done: int = 0, chunks: int | None = None
) -> Progress:
    """Return how far a table is."""
    estimated_rows = plan.stream.estimated_rows if plan.replace else None
    return Progress(plan.table, step, rows, estimated_rows, chunks_done, chunks)
