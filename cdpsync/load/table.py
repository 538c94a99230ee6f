"""A planned table into the storage, ready for its commit: read, dropped what is there, put."""

from __future__ import annotations

import itertools
import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from cdpsync import engine
from cdpsync.catalog import sql_name
from cdpsync.errors import LandingError
from cdpsync.extract.table import Extracted, ExtractHooks, extract
from cdpsync.load.deletes import merge_deletes
from cdpsync.load.merge import MergeResult, merge, needs_no_merge
from cdpsync.model import Deletes
from cdpsync.storage.paths import folder_of
from cdpsync.system import clock, disk

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.extract.workers import Workers
    from cdpsync.load.upload import TableUpload, Uploader
    from cdpsync.model import TablePlan

_STAGE_MEMORY = "2GB"


class Tell(Protocol):
    """Whoever listens to how far a table is."""

    def __call__(
        self,
        plan: TablePlan,
        step: str,
        *,
        rows: int = 0,
        chunks_done: int = 0,
        chunks: int | None = None,
    ) -> None:
        """Hear of one step."""


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table whose files are in the storage and wait for their commit."""

    plan: TablePlan
    extracted: Extracted
    merged: MergeResult
    files: tuple[str, ...]
    started_at: datetime
    clock: float


@dataclass(frozen=True, slots=True)
class TableLoader:
    """The way of one run's tables into the storage. Used from a thread per table."""

    connectors: Mapping[str, Connector]
    lend_lake: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
    uploader: Uploader
    workers: Workers
    spool: Path
    stopped: threading.Event
    tell: Tell
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def load(self, plan: TablePlan) -> LoadedTable | None:
        """Read a table into the storage; None when the run was stopped before it began."""
        import duckdb

        if self.stopped.is_set():
            return None
        started_at, start = clock.now(), time.monotonic()
        folder = self.spool / f"{next(self._numbers):05d}"
        folder.mkdir()
        self.tell(plan, "reading")
        extracted, delivery = self._extract(plan, folder)
        try:
            keys = self._keys(plan, folder / "keys") if plan.compares_keys else None
            self.tell(plan, "landing", rows=extracted.rows)
            staged = self._stage(plan, extracted, keys, delivery, folder)
            files = delivery.wait()
        except duckdb.Error as error:
            said = engine.first_line(error)
            advice = disk.disk_hint(said)
            if advice:
                raise LandingError(f"{folder}: {advice}; nothing was committed.") from error
            raise LandingError(
                f"{plan.table}: what is new could not be told from what is there "
                f"({said}). Nothing was committed."
            ) from error
        except BaseException:
            delivery.rollback()
            raise
        if not staged.upsert_files and staged.delete_keys is None:
            shutil.rmtree(folder, ignore_errors=True)
        return LoadedTable(plan, extracted, staged, files, started_at, start)

    def _extract(self, plan: TablePlan, folder: Path) -> tuple[Extracted, TableUpload]:
        """Read a table; files that must land whatever the others hold are sent as they come."""
        delivery = self.uploader.start_table(folder_of(plan.table))

        def tell(rows: int, done: int, chunks: int) -> None:
            self.tell(plan, "reading", rows=rows, chunks_done=done, chunks=chunks)

        hooks = ExtractHooks(on_progress=tell, wait_for_space=self.uploader.spool.wait)
        if needs_no_merge(plan):
            hooks = replace(
                hooks,
                on_file=lambda file: delivery.add(file.path, file.bytes),
                on_drop=lambda file: delivery.cancel(file.path),
            )
        connector = self.connectors[plan.source]
        try:
            extracted = extract(plan, connector, self.workers, folder, hooks=hooks)
        except BaseException:
            delivery.rollback()
            raise
        return extracted, delivery

    def _keys(self, plan: TablePlan, folder: Path) -> list[Path]:
        """Read every key that the source has, later than its rows: who is missing then is gone."""
        folder.mkdir()
        names = set(plan.primary_key)
        only_keys = replace(
            plan,
            columns=tuple(column for column in plan.columns if column.name in names),
            deletes=Deletes.IGNORE,
            cursor_field=None,
            window=None,
        )
        connector = self.connectors[plan.source]
        extracted = extract(only_keys, connector, self.workers, folder)
        return [file.path for file in extracted.files]

    def _stage(
        self,
        plan: TablePlan,
        extracted: Extracted,
        keys: list[Path] | None,
        delivery: TableUpload,
        folder: Path,
    ) -> MergeResult:
        """Say what lands, and send off what is not yet on its way."""
        files = [file.path for file in extracted.files]
        columns = extracted.columns
        if needs_no_merge(plan):
            size = sum(file.bytes for file in extracted.files)
            return MergeResult(columns, tuple(files), extracted.rows, size)
        if plan.replace:
            con = engine.connect(threads=1, memory_limit=_STAGE_MEMORY, temp=folder / "spill")
            try:
                staged = merge(con, plan, files, columns, "", folder)
            finally:
                con.close()
        else:
            with self.lend_lake() as con:
                name = sql_name(plan.table)
                staged = merge(con, plan, files, columns, name, folder)
                if keys is not None:
                    staged = merge_deletes(con, plan, staged, keys, name, folder, clock.now())
        for file in staged.files:
            delivery.add(file, file.stat().st_size, keep=file in staged.upsert_files)
        return staged
